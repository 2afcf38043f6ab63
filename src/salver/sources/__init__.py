"""From what is on disk to aspired versions."""
