"""The playground of a server: the page, and where it finds what it shows."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from salver import __version__
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.playground.labels import parse_labels_flag

if TYPE_CHECKING:
    from salver.playground.page import Playground  # 2 ms that servers without the page do not need

__all__ = ["Configured", "make_playground"]


class Configured(Protocol):
    """What is asked of the models."""

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """The present configuration."""
        ...


def make_playground(
    core: Configured,
    options: ServerOptions,
    *,
    metrics_paths: Sequence[str],
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    draw_history: Callable[[], Callable[[], bytes]] | None = None,
) -> "Playground | None":
    """What answers on the paths of the page; None where it is not enabled.

    Args:
        core: knows where models are.
        options: the flags.
        metrics_paths: where the Prometheus page is; empty for nowhere.
        in_thread: runs a function that reads the disk.
        draw_history: see `Playground`.

    Raises:
        InvalidArgument: `--labels_file` makes no sense.
    """
    labels_files = parse_labels_flag(options.labels_file)
    if not options.enable_playground:
        return None
    from salver.playground.page import About, Playground

    def base_path_of(name: str) -> str | None:
        models = core.applied or ()
        return next((model.base_path for model in models if model.name == name), None)

    return Playground(
        About(
            version=__version__,
            grpc_port=options.port,
            metrics_path=metrics_paths[-1] if metrics_paths else "",
        ),
        labels_files=labels_files,
        base_path_of=base_path_of,
        in_thread=in_thread,
        draw_history=draw_history,
    )
