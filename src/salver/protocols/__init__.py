"""What an API is to the server that serves it: tables of REST routes and of gRPC methods."""
