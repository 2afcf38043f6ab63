"""HTTP/2 for servers (RFC 9113): frames, header blocks, streams, and a protocol for asyncio."""
