"""Which models of a node are brought into memory before anybody asks for them. Pure.

One at a time, and each once as long as it is desired: what the server has to take out of memory
again for want of room is not brought back, since something else would have to go for it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["Preloading"]

_LONGEST_S: Final = 60.0  # a model that takes longer goes on loading, beside the next one


class Preloading:
    """Goes through the models that should be in memory.

    Attributes:
        is_under_way: a model is waited for.
    """

    def __init__(self) -> None:
        self.is_under_way = False
        self._begun: dict[str, tuple[int, ...]] = {}
        self._current = ""
        self._since_s = 0.0

    def next(
        self, desired: Sequence[str], cold: Mapping[str, tuple[int, ...]], now_s: float
    ) -> str:
        """The model that is to be brought in now; empty for none.

        Args:
            desired: models that should be in memory, in the order in which they are brought in.
            cold: model → its versions that are not, and could be.
            now_s: the time.
        """
        wanted = frozenset(desired)
        self._begun = {name: each for name, each in self._begun.items() if name in wanted}
        if self._is_loading(cold) and now_s - self._since_s <= _LONGEST_S:
            return ""
        waiting = (name for name in desired if cold.get(name, ()) != self._begun.get(name, ()))
        self._current = next((name for name in waiting if name in cold), "")
        self.is_under_way = bool(self._current)
        if self._current:
            self._begun[self._current] = cold[self._current]
            self._since_s = now_s
        return self._current

    def _is_loading(self, cold: Mapping[str, tuple[int, ...]]) -> bool:
        return self._current in cold and cold[self._current] == self._begun.get(self._current)
