"""Which versions of a model the cluster serves: one truth for all of its nodes.

A version is the cluster's once enough replicas have it available, and until enough have its
successor. Labels move with it: a label that names a version which is not the cluster's yet stays
where it was. So nodes that are quicker than others show nothing of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy

__all__ = ["Truth", "aspired", "enough", "labels_of", "settle"]


@dataclass(frozen=True, slots=True)
class Truth:
    """What the cluster says of a model.

    Attributes:
        versions: that it serves, the latest last.
        labels: label → one of them.
    """

    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)


def enough(replicas: int) -> int:
    """How many of so many replicas must have a version: more than half."""
    return replicas // 2 + 1


def aspired(policy: VersionPolicy, found: Collection[int]) -> tuple[int, ...]:
    """The versions that are to be served, of those that were found."""
    match policy:
        case Latest(count):
            return tuple(sorted(set(found))[-count:])
        case Specific(versions):
            return tuple(sorted({*versions} & {*found}))
        case All():
            return tuple(sorted(set(found)))


def settle(
    policy: VersionPolicy,
    target: Collection[int],
    before: Collection[int],
    available: Mapping[int, int],
    replicas: int,
) -> tuple[int, ...]:
    """The versions that a cluster serves.

    Args:
        policy: of the model.
        target: versions that it should be served with; empty where nobody knows which there are,
            so that the policy selects from those that are available.
        before: those that it was served with until now.
        available: version → how many replicas have it.
        replicas: that the model should have.
    """
    there = {version for version, count in available.items() if count}
    served = {*before} & there if before else there
    ready = served | {version for version in there if available[version] >= enough(replicas)}
    now = {*target} & ready if target else {*aspired(policy, ready)}
    # Until all of the target is ready, what was served makes up for what is missing.
    missing = len(target) - len(now)
    if missing > 0:
        now |= {*sorted(served - now)[-missing:]}
    return tuple(sorted(now))


def labels_of(
    wanted: Mapping[str, int], before: Mapping[str, int], versions: Collection[int]
) -> dict[str, int]:
    """The labels that are in effect.

    Args:
        wanted: as the configuration has them.
        before: as they were.
        versions: that the cluster serves.
    """
    labels = {}
    for label, version in wanted.items():
        if version in versions:
            labels[label] = version
        elif before.get(label) in versions:
            labels[label] = before[label]
    return labels
