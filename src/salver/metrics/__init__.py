"""Instruments: what is counted and timed, under the reference's names and ours, and the page."""
