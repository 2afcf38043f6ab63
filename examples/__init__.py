"""Five tutorials for TensorFlow Serving, done with Salver, command for command."""
