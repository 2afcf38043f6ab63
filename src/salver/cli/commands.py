"""The commands of `salver`, as a table: what calls them, lists them and completes them reads it."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final, cast

__all__ = ["COMMANDS", "Command", "Misused", "nearest_command"]


class Misused(Exception):
    """The command line makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table.

    Attributes:
        name: what is typed behind `salver`.
        arguments: what follows, as help shows it.
        help: what it does, in a few words.
        module: of this package; imported when the command is called.
        function: in that module; takes the arguments, gives the exit status.
    """

    name: str
    arguments: str
    help: str
    module: str
    function: str

    @property
    def usage(self) -> str:
        """How it is called."""
        return f"salver {self.name} {self.arguments}"

    def load(self) -> Callable[..., int]:
        """The function itself."""
        module = import_module(f"salver.cli.{self.module}")
        return cast("Callable[..., int]", getattr(module, self.function))

    def __call__(self, arguments: Sequence[str]) -> int:
        """Run it.

        Raises:
            Misused: the arguments make no sense.
            ServingError: it failed.
        """
        return self.load()(arguments)


COMMANDS: Final = (
    Command(
        name="serve",
        arguments="PATH|NAME=PATH ... [--flag=value ...]",
        help="serve models over REST and gRPC",
        module="serve",
        function="serve",
    ),
    Command(
        name="demo",
        arguments="[--write_models=DIR]",
        help="serve a model that comes with the package",
        module="demo",
        function="demo",
    ),
    Command(
        name="show",
        arguments="PATH",
        help="print the signatures of a model",
        module="show",
        function="show_command",
    ),
    Command(
        name="publish",
        arguments="SOURCE BASE_PATH",
        help="put the next version of a model in place",
        module="publish",
        function="publish_command",
    ),
    Command(
        name="fetch",
        arguments="URI ... [--flag=value ...]",
        help="fetch versions into the model cache",
        module="fetch",
        function="fetch_command",
    ),
    Command(
        name="cache",
        arguments="ls|rm|verify ...",
        help="look at the model cache, remove what is in it",
        module="cache",
        function="cache_command",
    ),
    Command(
        name="config",
        arguments="check|convert|schema|show ...",
        help="look at a configuration without a server",
        module="config",
        function="config",
    ),
    Command(
        name="keys",
        arguments="create|list|revoke ...",
        help="make API keys, list and revoke them",
        module="keys",
        function="keys_command",
    ),
    Command(
        name="admin",
        arguments="VERB ... [--server=URL]",
        help="look into a running server, change it",
        module="admin",
        function="admin_command",
    ),
    Command(
        name="cluster",
        arguments="up|status|down|drain|why|logs ...",
        help="serve models from many machines",
        module="cluster",
        function="cluster_command",
    ),
    Command(
        name="warmup",
        arguments="make|show PATH ...",
        help="write or print a version's warmup file",
        module="warmup",
        function="warmup",
    ),
    Command(
        name="replay",
        arguments="LOG ... --to URL",
        help="send a request log again, compare answers",
        module="replay",
        function="replay_command",
    ),
    Command(
        name="bench",
        arguments="URL MODEL ...",
        help="put load on a server and measure it",
        module="bench",
        function="bench",
    ),
    Command(
        name="completion",
        arguments="bash|zsh|fish",
        help="print a script that completes commands and flags",
        module="completion",
        function="completion",
    ),
)
"""In the order in which help lists them."""


def nearest_command(word: str) -> str | None:
    """The command that an unknown one was probably meant to be."""
    names = [command.name for command in COMMANDS]
    return next(iter(difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)), None)
