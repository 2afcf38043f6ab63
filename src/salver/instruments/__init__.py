"""What every room may use: threads, files, memory, the machine."""
