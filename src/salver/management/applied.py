"""What a core says of each change of what it serves."""

from dataclasses import dataclass

from salver.config.models import ModelConfig
from salver.vocabulary.access import Actor

__all__ = ["Applied"]


@dataclass(frozen=True, slots=True)
class Applied:
    """A change that is in effect.

    Attributes:
        before: the configuration until then.
        after: since.
        actor: who requested it, over the network; None for the flags or the file of the server.
        model: the one that was loaded, unloaded or loaded again; None for a configuration.
        action: `load`, `unload` or `reload`; None for a configuration.
    """

    before: tuple[ModelConfig, ...]
    after: tuple[ModelConfig, ...]
    actor: Actor | None
    model: str | None = None
    action: str | None = None
