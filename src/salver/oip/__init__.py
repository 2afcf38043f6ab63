"""The Open Inference Protocol (KServe v2), whole, as Triton's and KServe's clients speak it."""
