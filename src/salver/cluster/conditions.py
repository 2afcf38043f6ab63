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
        knows_flags: the controller has told the present agent by which flags its server should run.
            An agent that was started again has those of its first start until then.
    """

    server_pid: int = 0
    started_by: str = ""
    wanted: str = ""
    starts: int = 0
    niceness: int = 0
    problem: str = ""
    is_lost: bool = False
    knows_flags: bool = True

    @property
    def is_outdated(self) -> bool:
        """Whether its server is known to run by another command line than it should."""
        return self._is_known and self.started_by != self.wanted

    @property
    def is_up_to_date(self) -> bool:
        """Whether its server is known to run by the command line that it should."""
        return self._is_known and self.started_by == self.wanted

    @property
    def _is_known(self) -> bool:
        return bool(self.server_pid) and self.knows_flags
