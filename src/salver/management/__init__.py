"""What decides about models: which versions are wanted, loaded, looked up, and by what names."""
