"""HTTP/2 for clients: what asks other servers, over the same frames and windows as the server."""
