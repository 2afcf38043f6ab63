"""Messages of TensorFlow Serving and their tensors, without an object for each number."""
