"""The composition root: builds, starts, drains and stops a server."""
