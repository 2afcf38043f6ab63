"""Machines that Ray's autoscaler starts and ends: nodes of Ray at loopback addresses of their own.

Ray's own provider for tests gives all of its nodes one address. Each start and end is noted in a
file, a line each. Imported by Ray's monitor, which is given this directory.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

__all__ = ["HEAD_TYPE", "WORKER_TYPE", "LoopbackMachines", "autoscaling_config"]

HEAD_TYPE: Final = "head"
WORKER_TYPE: Final = "worker"
_CPUS: Final = 2
_STORE_BYTES: Final = 150 << 20
_IDLE_MINUTES: Final = 0.03


def autoscaling_config(
    gcs_address: str, head: str, workers: Sequence[str], notes: Path
) -> dict[str, Any]:
    """What Ray's monitor reads.

    Args:
        gcs_address: of the head.
        head: its address.
        workers: addresses for further machines.
        notes: a file for what is started and ended.
    """
    empty: tuple[str, ...] = (
        *("initialization_commands", "setup_commands", "head_setup_commands", "rsync_exclude"),
        *("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"),
        *("cluster_synced_files", "rsync_filter"),
    )
    return {
        "cluster_name": "autoscaled",
        "max_workers": len(workers),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": _IDLE_MINUTES,
        "docker": {},
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "head_node_type": HEAD_TYPE,
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": _CPUS}, "node_config": {}, "max_workers": 0},
            WORKER_TYPE: {
                "resources": {"CPU": _CPUS},
                "node_config": {},
                "min_workers": 0,
                "max_workers": len(workers),
            },
        },
        "provider": {
            "type": "external",
            "module": "ray_provider.LoopbackMachines",
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "foreground_node_launch": True,
            "gcs_address": gcs_address,
            "head": head,
            "workers": list(workers),
            "notes": str(notes),
        },
        **{name: [] for name in empty},
    }


class LoopbackMachines(NodeProvider):  # type: ignore[misc]
    """A provider whose nodes are called by their addresses."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._lock = threading.RLock()
        self._nodes: dict[str, Node] = {}
        head = provider_config["head"]
        kind = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: HEAD_TYPE}
        self._tags: dict[str, dict[str, str]] = {head: {**kind, **_started(head)}}

    def non_terminated_nodes(self, tag_filters: Mapping[str, str]) -> list[str]:
        with self._lock:
            return [
                host for host, tags in self._tags.items() if tag_filters.items() <= tags.items()
            ]

    def is_running(self, node_id: str) -> bool:
        return node_id in self._tags

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._tags

    def node_tags(self, node_id: str) -> dict[str, str]:
        with self._lock:
            return dict(self._tags.get(node_id, {}))

    def set_node_tags(self, node_id: str, tags: Mapping[str, str]) -> None:
        with self._lock:
            self._tags[node_id] |= tags

    def internal_ip(self, node_id: str) -> str:
        return node_id

    def external_ip(self, node_id: str) -> str:
        return node_id

    def create_node(self, node_config: Any, tags: Mapping[str, str], count: int) -> None:
        with self._lock:
            free = [each for each in self.provider_config["workers"] if each not in self._tags]
            for host in free[:count]:
                self._note("start", host)
                self._tags[host] = {**tags, **_started(host)}
                self._nodes[host] = self._start(host)

    def _start(self, host: str) -> Node:
        address = self.provider_config["gcs_address"]
        params = RayParams(
            node_ip_address=host,
            redis_address=address,
            gcs_address=address,
            num_cpus=_CPUS,
            num_gpus=0,
            object_store_memory=_STORE_BYTES,
            min_worker_port=0,
            max_worker_port=0,
            node_manager_port=0,
            include_log_monitor=False,
            env_vars={"RAY_CLOUD_INSTANCE_ID": host},
        )
        params.dashboard_agent_listen_port = None
        return Node(params, head=False, shutdown_at_exit=False, spawn_reaper=True)

    def terminate_node(self, node_id: str) -> None:
        with self._lock:
            self._note("end", node_id)
            self._tags.pop(node_id)
            self._nodes.pop(node_id).kill_all_processes(check_alive=False, allow_graceful=False)

    def _note(self, verb: str, host: str) -> None:
        with Path(self.provider_config["notes"]).open("a") as notes:
            notes.write(f"{verb} {host}\n")


def _started(host: str) -> dict[str, str]:
    return {TAG_RAY_NODE_NAME: host, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}
