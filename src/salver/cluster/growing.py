"""How many nodes a cluster asks Ray's autoscaler for. Pure."""

from collections.abc import Mapping
from typing import Any

from salver.cluster.spec import NodesSpec

__all__ = ["wanted_nodes"]


def wanted_nodes(spec: NodesSpec, status: Mapping[str, Any]) -> int:
    """How many nodes there should be.

    As many as there are, so that none which has a server counts as idle; one more while a model
    fits nowhere; and within the bounds of the specification. One whose server is being started anew
    stays.

    Args:
        spec: of the nodes.
        status: of the cluster, as a document.
    """
    staying = [
        node
        for node in status["nodes"]
        if node["state"] not in ("draining", "drained") or node["name"] == status["restarting"]
    ]
    is_short = any(model["state"] == "nowhere" for model in status["models"])
    wanted = len(staying) + (1 if is_short and staying else 0)
    return max(spec.min, min(wanted, spec.max) if spec.max else wanted)
