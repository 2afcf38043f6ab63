"""HTTP, sockets, TLS and limits: bytes in, requests out."""
