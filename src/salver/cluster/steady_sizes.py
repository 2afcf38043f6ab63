"""What processes of models have in memory, said so that it seldom changes. Pure.

What is measured is never the same twice. What is said stays until more is measured, or far less;
then it is a little more than what was measured.
"""

from collections.abc import Mapping, MutableMapping
from typing import Final

__all__ = ["SteadySizes"]

_ABOVE: Final = 1.1
_FAR_LESS: Final = 0.7
_STEP_BYTES: Final = 1 << 20


class SteadySizes:
    """What was said of each version."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._said: dict[tuple[str, str], int] = {}

    def smooth(self, measured: Mapping[str, MutableMapping[str, int]]) -> None:
        """Replace what was measured by what is to be said.

        Args:
            measured: model → version → bytes. What is missing is forgotten.
        """
        said = {}
        for model, versions in measured.items():
            for version, taken in versions.items():
                said[model, version] = versions[version] = self._steady((model, version), taken)
        self._said = said

    def _steady(self, version: tuple[str, str], taken: int) -> int:
        before = self._said.get(version, 0)
        if _FAR_LESS * before <= taken <= before:
            return before
        return -(-int(taken * _ABOVE) // _STEP_BYTES) * _STEP_BYTES
