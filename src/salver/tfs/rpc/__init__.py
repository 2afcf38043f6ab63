"""TensorFlow Serving's API over gRPC: its services, from bytes to bytes."""
