"""A model server that speaks TensorFlow Serving's REST and gRPC APIs."""

__all__ = ["__version__"]

__version__ = "0.1.0"
