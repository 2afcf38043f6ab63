"""The level of log lines for a person who watches: nothing is wrong, and yet it is worth a line.

`salver serve` prints lines from this level up, `tensorflow_model_server` all from INFO up.
"""

import logging
from typing import Final

__all__ = ["NOTICE"]

NOTICE: Final = (logging.INFO + logging.WARNING) // 2
