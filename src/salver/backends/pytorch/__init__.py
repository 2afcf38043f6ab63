"""PyTorch: exported programs (`.pt2`), AOTInductor packages and TorchScript (`.pt`)."""
