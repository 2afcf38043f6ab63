"""The APIs of a server: those listed here, and those of other packages."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from glob import escape as glob_escape
from glob import glob
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from salver.errors import InvalidArgument
from salver.operations.health_service import make_health_api
from salver.operations.openapi_page import make_openapi_api
from salver.protocols.api import Api, ApiParts, MakeApi

__all__ = ["GROUP", "make_apis"]

GROUP: Final = "salver.protocols"
"""The entry points by which packages name a function that makes their API; see `MakeApi`."""

_BUILT_IN: Final = (
    "salver.tfs.cloud.api:make_api",
    "salver.operations.metrics_page:make_api",
    "salver.tfs.api:make_api",
    "salver.oip.api:make_api",
    "salver.operations.health_pages:make_api",
    "salver.operations.administration:make_api",
    "salver.operations.log_level:make_api",
    "salver.operations.slow_requests:make_api",
    "salver.playground.api:make_api",
)
"""Module and function of each; their routes are tried in this order."""

_PROFILER: Final = "salver.operations.profiler:make_api"


def make_apis(parts: ApiParts) -> list[Api]:
    """Make all APIs that the configuration has.

    Raises:
        InvalidArgument: flags make no sense, or the API of another package does not.
    """
    made = [_named(name)(parts) for name in _BUILT_IN]
    apis = [*(api for api in made if api is not None), *parts.more]
    _add_plug_ins(apis, parts)
    if parts.configuration.options.enable_grpc_healthcheck_service:
        apis.append(make_health_api(service_names(apis), parts.is_serving))
    profiler = _named(_PROFILER)(parts)
    if profiler is not None:
        apis.append(profiler)
    return [*apis, make_openapi_api(apis, parts)]


def service_names(apis: Sequence[Api]) -> list[str]:
    """Full names of the gRPC services of some APIs."""
    return sorted({path.split("/")[1] for api in apis for path in api.methods})


def _named(name: str) -> MakeApi:
    module, _, function = name.partition(":")
    made: MakeApi = getattr(import_module(module), function)
    return made


def _has_plug_ins() -> bool:
    """Whether any package that is installed may name some, at a tenth of the price of asking."""
    section = f"[{GROUP}]".encode()
    for directory in sys.path:
        for file in glob(os.path.join(glob_escape(directory), "*-info", "entry_points.txt")):
            with suppress(OSError):  # it is being removed, say
                if section in Path(file).read_bytes():
                    return True
    return False


def _add_plug_ins(apis: list[Api], parts: ApiParts) -> None:
    if not _has_plug_ins():
        return
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        try:
            api: Any = point.load()(parts)
        except Exception as error:
            text = f"The protocol plug-in {point.name} ({point.value}) failed: {error}"
            raise InvalidArgument(text) from error
        if api is None:
            continue
        taken = {path for other in apis for path in other.methods} & set(api.methods)
        if taken:
            raise InvalidArgument(
                f"The protocol plug-in {point.name} ({point.value}) has gRPC methods that are "
                f"taken: {', '.join(sorted(taken))}"
            )
        apis.append(api)
