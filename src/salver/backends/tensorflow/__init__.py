"""Running SavedModels through the C API of the installed TensorFlow wheel."""
