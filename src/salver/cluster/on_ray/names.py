"""What actors are called, and where."""

from typing import Final

__all__ = ["CONTROLLER", "HEAD", "namespace_of", "node_actor"]

CONTROLLER: Final = "controller"

HEAD: Final = "node:__internal_head__"
"""A resource that the head of each cluster of Ray has."""


def namespace_of(cluster: str) -> str:
    """The namespace of Ray that the actors of a cluster are in."""
    return f"salver-{cluster}"


def node_actor(name: str, ray_node: str) -> str:
    """The actor of a node; another one where Ray has started anew there."""
    return f"node {name} {ray_node[:16]}"
