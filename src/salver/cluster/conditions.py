"""How a node is, beside what its models are: its server's process, and what is wrong there."""

from dataclasses import dataclass

__all__ = ["NodeCondition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCondition:
    """What there is to say of a node beside its models.

    Attributes:
        server_pid: of its server; 0 while there is none.
        started_by: digest of the command line that its server was started by.
        wanted: digest of the command line that it should have been started by.
        starts: how often the present agent has started it.
        niceness: of its process; above 0 others get the processor first.
        problem: what is wrong there; empty for nothing.
        is_lost: its server should answer, and has not for so long that others should take over.
    """

    server_pid: int = 0
    started_by: str = ""
    wanted: str = ""
    starts: int = 0
    niceness: int = 0
    problem: str = ""
    is_lost: bool = False

    @property
    def is_outdated(self) -> bool:
        """Whether its server runs by another command line than it should."""
        return bool(self.server_pid) and self.started_by != self.wanted
