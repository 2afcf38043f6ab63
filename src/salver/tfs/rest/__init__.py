"""TensorFlow Serving's API over REST: routes, calls, reports."""
