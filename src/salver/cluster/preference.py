"""Rendezvous hashing: each model has an order of the nodes, from the two names alone.

The score of a model at a node is `-weight / log(hash)`, so that the first place falls to nodes by
their weights, and what a node loses or gains when another comes or goes is its share alone.

Source: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates", 1998; for the
weights J. Schindler, SNIA SDC 2014. The mixing is the finalizer of splitmix64.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from salver.cluster.needs import NodeRoom

__all__ = ["Preference"]

_UNIT: Final = float(1 << 53)
_U64 = np.uint64


class Preference:
    """The orders of nodes for models.

    Args:
        nodes: numbered as they come.
    """

    def __init__(self, nodes: Sequence[NodeRoom]) -> None:
        self._hashes = np.array([_hash_of(node.name) for node in nodes], _U64)
        self._weights = np.array([max(node.memory_bytes, 1) for node in nodes], np.float64)

    def order(self, model: str) -> list[int]:
        """Numbers of all nodes, best first."""
        scores = self._scores(model)
        return [int(number) for number in np.argsort(-scores, kind="stable")]

    def sorted(self, model: str, numbers: Iterable[int]) -> list[int]:
        """These numbers of nodes, best first."""
        scores = self._scores(model)
        return sorted(numbers, key=lambda number: (-scores[number], number))

    def _scores(self, model: str) -> NDArray[np.float64]:
        mixed = _mixed(self._hashes ^ _U64(_hash_of(model)))
        unit = ((mixed >> _U64(11)).astype(np.float64) + 0.5) / _UNIT
        scores: NDArray[np.float64] = self._weights / -np.log(unit)
        return scores


def _hash_of(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> _U64(27))) * _U64(0x94D049BB133111EB)
    return values ^ (values >> _U64(31))
