"""What runs on Ray: the only place where Ray is imported, and only when a cluster is asked for."""
