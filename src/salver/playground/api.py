"""The playground of a server: the page, and where it finds what it shows."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from salver import __version__
from salver.config.options import ServerOptions
from salver.errors import ServingError
from salver.inference.serving import info_of
from salver.instruments.threads import InThread
from salver.openapi.description import ApiDescription
from salver.protocols.api import Api, ApiParts, Models
from salver.protocols.labels import parse_labels_flag
from salver.protocols.version_files import base_path_of
from salver.vocabulary.requests import ServableRequest

if TYPE_CHECKING:
    from salver.playground.page import Playground  # 2 ms that servers without the page do not need

__all__ = ["make_api", "make_playground"]


def make_api(parts: ApiParts) -> Api | None:
    """The page, where it is enabled.

    Raises:
        InvalidArgument: `--labels_file` makes no sense.
    """
    configuration = parts.configuration
    page = make_playground(
        parts.models,
        configuration.options,
        metrics_paths=configuration.monitoring.paths,
        in_thread=parts.in_pool,
        draw_history=parts.draw_history,
    )
    if page is None:
        return None
    routes = page.routes()
    own = "the page's own, which may change"
    unlisted = ApiDescription(unlisted={route.path: own for route in routes})
    return Api(routes=routes, describe=lambda: unlisted)


def make_playground(
    core: Models,
    options: ServerOptions,
    *,
    metrics_paths: Sequence[str],
    in_thread: InThread,
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

    def optional_of(name: str, version: int) -> Mapping[str, Sequence[str]]:
        try:
            _, info = info_of(core, ServableRequest(name, version))
        except ServingError:  # it is not in memory, or not there: nothing is known of it
            return {}
        return {
            name: sorted(signature.optional)
            for name, signature in info.signatures.items()
            if signature.optional
        }

    return Playground(
        About(
            version=__version__,
            grpc_port=options.port,
            metrics_path=metrics_paths[-1] if metrics_paths else "",
            has_open_inference=options.enable_open_inference_protocol,
        ),
        labels_files=labels_files,
        base_path_of=partial(base_path_of, core),
        in_thread=in_thread,
        optional_of=optional_of,
        draw_history=draw_history,
    )
