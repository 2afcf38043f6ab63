"""What is served: a name, a version, the id made of both, and which versions of a name."""

from dataclasses import dataclass
from typing import Final

__all__ = ["TRY_FAILED", "All", "Latest", "ServableId", "Specific", "VersionPolicy"]

TRY_FAILED: Final = "is loaded again soon; the last try failed: "
"""How the note of a version begins while another try to load it is due."""


@dataclass(frozen=True, slots=True, order=True)
class ServableId:
    """One version of one servable stream. Ids of one stream sort oldest first."""

    name: str
    version: int  # >= 0; the larger, the newer

    def __post_init__(self) -> None:
        if self.version < 0:
            raise ValueError(f"version must be non-negative, not {self.version}")

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


@dataclass(frozen=True, slots=True)
class Latest:
    """Serve the versions with the highest numbers."""

    num_versions: int = 1

    def __post_init__(self) -> None:
        if self.num_versions < 1:
            raise ValueError(f"num_versions must be positive, not {self.num_versions}")


@dataclass(frozen=True, slots=True)
class All:
    """Serve every version found."""


@dataclass(frozen=True, slots=True)
class Specific:
    """Serve these versions, where they are found."""

    versions: tuple[int, ...]


VersionPolicy = Latest | All | Specific
