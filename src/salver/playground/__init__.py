"""A page on which a person can try the models, and what it asks beyond the API."""
