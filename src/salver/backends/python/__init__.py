"""Python models: a `model.py` with a class `Model`, or with Triton's `TritonPythonModel`."""
