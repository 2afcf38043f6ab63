"""Counters and histograms under the reference's names."""
