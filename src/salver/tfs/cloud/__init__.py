"""The paths by which clouds ask a container for predictions, and the forms they ask in."""
