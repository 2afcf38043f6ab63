"""What a model says of itself, in `assets/salver.json`: titles, ranges, units, labels, examples."""
