"""Serving Keras files: each is converted once, in a child process, to a SavedModel that is kept."""
