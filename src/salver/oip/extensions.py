"""Triton's extensions: shared memory, which is not there, and trace and log settings.

Clients ask whether there is shared memory, and clean up what they may have left; both are answered.
Settings are readable. They can be changed where clients may load and unload models: those of the
log, and those of traces in a server that sends any.
REST and gRPC write what stands here.

Source: Triton, `docs/protocol/extension_{shared_memory,trace,logging}.md`; the texts are those of
its `shared_memory_manager.cc` and `grpc/grpc_server.cc`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from salver.errors import InvalidArgument, NotFound, ServingError, Unimplemented
from salver.tracing.sampling import Sampling

__all__ = [
    "check_region",
    "log_settings",
    "new_log_level",
    "new_sampling",
    "refuse_log_settings",
    "refuse_region",
    "refuse_repository",
    "refuse_trace_settings",
    "trace_settings",
]

Kind = Literal["system", "cuda"]

_UNTRACED: Final[Mapping[str, Any]] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
_USUAL_RATIO: Final = 1 / int(_UNTRACED["trace_rate"])

_LEVELS: Final = (
    ("log_info", logging.INFO),
    ("log_warning", logging.WARNING),
    ("log_error", logging.ERROR),
)


def check_region(kind: Kind, name: str) -> None:
    """Before the regions are listed, of which there are none.

    Args:
        kind: of memory.
        name: of the region that is asked for; empty for all.

    Raises:
        NotFound: one is asked for.
    """
    if name:
        raise NotFound(f"Unable to find {kind} shared memory region: '{name}'")


def refuse_region(kind: Kind, name: str) -> ServingError:
    """The error for a region that a client wants to register."""
    if kind == "cuda":
        return Unimplemented(
            f"failed to register CUDA shared memory region: '{name}', GPUs not supported"
        )
    return Unimplemented(
        f"failed to register system shared memory region: '{name}', shared memory is not supported",
        hint="Send the tensors as raw_input_contents, or over REST as binary data.",
    )


def log_settings() -> dict[str, Any]:
    """Setting → its value: what this server logs now, to its standard error."""
    log = logging.getLogger("salver")
    return {
        "log_file": "",
        "log_info": log.isEnabledFor(logging.INFO),
        "log_warning": log.isEnabledFor(logging.WARNING),
        "log_error": log.isEnabledFor(logging.ERROR),
        "log_verbose_level": int(log.isEnabledFor(logging.DEBUG)),
        "log_format": "default",
    }


def new_log_level(settings: Mapping[str, object]) -> int | None:
    """The level that a change of log settings means; None where they change nothing.

    Raises:
        InvalidArgument: there is no such setting, or none of this value.
        Unimplemented: it cannot be changed.
    """
    present = log_settings()
    for name, value in settings.items():
        if name not in present:
            raise InvalidArgument(f"log setting '{name}' is not known")
        if type(value) is not type(present[name]):
            raise InvalidArgument(f"log setting '{name}' is to be of another type")
    if settings.get("log_file"):
        raise Unimplemented("log file location can not be updated through network protocol")
    if settings.get("log_format", present["log_format"]) != present["log_format"]:
        raise Unimplemented("log format can not be updated", hint="--log_format sets it.")
    wanted = {**present, **settings}
    wanted["log_verbose_level"] = int(wanted["log_verbose_level"] > 0)
    if wanted == present:
        return None
    if wanted["log_verbose_level"]:
        return logging.DEBUG
    return next((level for name, level in _LEVELS if wanted[name]), logging.CRITICAL)


def trace_settings(sampling: Sampling | None) -> dict[str, Any]:
    """Setting → its value, of the whole server and of each model.

    Args:
        sampling: of the requests whose clients do not ask to be traced; None where nothing is.
    """
    if sampling is None:
        return dict(_UNTRACED)
    settings = {**_UNTRACED, "trace_mode": "opentelemetry"}
    if sampling.ratio:
        settings["trace_level"] = ["TIMESTAMPS"]
        settings["trace_rate"] = str(round(1 / sampling.ratio))
    return settings


def new_sampling(
    settings: Mapping[str, Sequence[str]], present: Sampling, default: Sampling
) -> Sampling:
    """The sampling that a change of trace settings means.

    Args:
        settings: those that change; one without a value is to be as it was at the start.
        present: what is sampled now.
        default: what was at the start.

    Raises:
        InvalidArgument: there is no such setting, or none of this value.
        Unimplemented: it cannot be changed.
    """
    now = trace_settings(present)
    for name, values in settings.items():
        if name not in now:
            raise InvalidArgument(f"trace setting '{name}' is not known")
        is_same = list(values) in ([], [now[name]], now[name])
        if name not in ("trace_level", "trace_rate") and not is_same:
            raise Unimplemented(f"trace setting '{name}' can not be changed")
    ratio = present.ratio or default.ratio or _USUAL_RATIO
    if "trace_rate" in settings:
        ratio = _ratio(settings["trace_rate"]) or default.ratio or _USUAL_RATIO
    level = settings.get("trace_level")
    if level is None:
        is_on = present.ratio > 0
    elif not level:
        is_on = default.ratio > 0
    elif list(level) in (["OFF"], ["TIMESTAMPS"]):
        is_on = level[0] == "TIMESTAMPS"
    else:
        raise Unimplemented("trace_level must be OFF or TIMESTAMPS")
    return replace(present, ratio=ratio if is_on else 0.0)


def _ratio(values: Sequence[str]) -> float:
    """What a rate means, one of so many; 0 where it has no value."""
    if not values:
        return 0.0
    text = values[0]
    rate = int(text) if len(values) == 1 and text.isascii() and text.isdecimal() else 0
    if rate < 1:
        raise InvalidArgument("trace_rate must be a number from 1 up")
    return 1 / rate


def refuse_trace_settings(*, is_traced: bool = False) -> ServingError:
    """The error for a change of them, in a server that traces or not."""
    if is_traced:
        return Unimplemented(
            "trace settings can not be updated through network protocol",
            hint="--model_control_mode=explicit permits it.",
        )
    return Unimplemented("the server does not support tracing")


def refuse_log_settings() -> ServingError:
    """The error for a change of them."""
    return Unimplemented(
        "log settings can not be updated through network protocol",
        hint="--model_control_mode=explicit permits it; PUT /admin/v1/log_level sets the level.",
    )


def refuse_repository() -> ServingError:
    """The error for a repository that is named: there is one, without a name."""
    return Unimplemented("'repository_name' specification is not supported")
