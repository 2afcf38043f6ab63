"""`salver.cluster.up(…)`: clusters from Python."""

import os
from collections.abc import Callable
from pathlib import Path

from salver.cluster.on_ray.deployment import Deployment, connect
from salver.cluster.spec import ClusterSpec, read_cluster_spec
from salver.errors import DeadlineExceeded

__all__ = ["attach", "up"]


def _nobody(_line: str) -> None:
    pass


def up(
    cluster: str | os.PathLike[str] | ClusterSpec,
    *,
    wait_s: float = 120.0,
    tell: Callable[[str], None] = _nobody,
) -> Deployment:
    """Start a cluster, or have one that runs be like this.

    To call it again is harmless: what is as it should be is left alone, and servers that still run
    after the controller or Ray have ended are taken over as they are.

    Args:
        cluster: path of a `cluster.yaml`, or what it says.
        wait_s: how long to wait until the models are where they should be; 0 for not at all.
        tell: is told what is done.

    Returns:
        The cluster, with `status`, `why`, `drain`, `logs`, `metrics` and `down`.

    Raises:
        DeadlineExceeded: it runs, but was not settled in time.
        ServingError: it cannot be started; the text says why.
    """
    deployment = connect(_spec(cluster), may_start=True, tell=tell)
    deployment.up(tell)
    if wait_s and not deployment.wait_settled(wait_s, lambda _status: None):
        raise DeadlineExceeded(
            f"The cluster was not settled within {wait_s:g} s",
            hint="salver cluster status shows what is missing.",
        )
    return deployment


def attach(cluster: str | os.PathLike[str] | ClusterSpec) -> Deployment:
    """Connect to a cluster that runs.

    Raises:
        ServingError: it does not run, or cannot be reached.
    """
    return connect(_spec(cluster), may_start=False, tell=_nobody)


def _spec(cluster: str | os.PathLike[str] | ClusterSpec) -> ClusterSpec:
    return cluster if isinstance(cluster, ClusterSpec) else read_cluster_spec(str(Path(cluster)))
