"""What a server has set in its environment for itself alone, and not for the models' processes."""

from typing import Final

__all__ = ["OWN_ENVIRONMENT"]

OWN_ENVIRONMENT: Final = "SALVER_OWN_ENVIRONMENT"
"""The variable with the names of those, with commas between; workers inherit it."""
