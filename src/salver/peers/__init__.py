"""What one server knows of others: which models they have, and how to hand a request to them."""
