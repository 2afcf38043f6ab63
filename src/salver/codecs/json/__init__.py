"""JSON requests and answers of the REST API ↔ arrays."""
