"""The Open Inference Protocol (KServe v2, Triton): bytes ↔ arrays."""
