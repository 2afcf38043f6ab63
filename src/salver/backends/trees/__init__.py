"""What the backends of tree ensembles have in common: signatures, columns, tf.Examples, checks."""
