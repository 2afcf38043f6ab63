"""HTTP/1.1: requests in, answers out, one connection at a time."""
