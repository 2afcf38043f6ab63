"""The Open Inference Protocol over REST: routes and calls."""
