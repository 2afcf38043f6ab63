"""Nodes of Ray in a process of their own: `ray.cluster_utils.Cluster`, by lines on standard input.

    add HOST | kill HOST | end

The first host is the head; it has Ray's autoscaler where a file for that is named. Each line is
answered by one on standard output. So the tests' process has nothing of Ray's daemons in it.
"""

import sys
from typing import Any, Final

from ray.cluster_utils import Cluster

_TRIES: Final = 3  # Ray gives up after 30 s, which a busy machine may need
_NODE: Final = {"num_cpus": 2, "include_dashboard": False}


class Nodes:
    def __init__(self, port: int, autoscaling: str = "") -> None:
        self._port = port
        self._autoscaling = autoscaling
        self._cluster = Cluster(initialize_head=False, shutdown_at_exit=False)
        self._nodes: dict[str, Any] = {}

    def add(self, host: str) -> str:
        is_head = self._cluster.head_node is None
        more = self._of_head() if is_head else {}
        for turn in range(_TRIES):
            try:
                self._nodes[host] = self._cluster.add_node(node_ip_address=host, **_NODE, **more)
                break
            except Exception:
                if is_head or turn == _TRIES - 1:
                    raise
        return str(self._cluster.gcs_address)

    def _of_head(self) -> dict[str, Any]:
        more: dict[str, Any] = {"gcs_server_port": self._port}
        if self._autoscaling:
            more |= {"autoscaling_config": self._autoscaling, "no_monitor": False}
        return more

    def kill(self, host: str) -> str:
        self._cluster.remove_node(self._nodes.pop(host), allow_graceful=False)
        return "killed"

    def end(self, _host: str = "") -> str:
        for host in list(self._nodes):
            self.kill(host)
        return "ended"


def main(port: int, autoscaling: str = "") -> None:
    nodes = Nodes(port, autoscaling)
    for line in sys.stdin:
        verb, _, host = line.strip().partition(" ")
        said = getattr(nodes, verb)(host)
        sys.stdout.write(f"\n# {said}\n")
        sys.stdout.flush()
        if verb == "end":
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
