"""gRPC: its transports, and the services of TensorFlow Serving's API."""
