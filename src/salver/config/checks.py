"""Which combinations of flags no server can start with.

Source: TensorFlow Serving `model_servers/server.cc`, BuildAndStart; the texts are its own, but for
`check_ours`.
"""

import math
import os
from typing import Final

from salver.config.cloud import CONTRACTS
from salver.config.grpc import is_native
from salver.config.hosts import read_allowed_hosts
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument

__all__ = [
    "check_batching",
    "check_credentials",
    "check_listening",
    "check_model_source",
    "check_ours",
    "check_parallelism",
    "rest_port_refusal",
]

_LAST_PORT = 65535
_MOST_WORKERS = 1024  # each has its models and its libraries in memory
_CHOICES = {
    "cloud_contract": CONTRACTS,
    "grpc_transport": ("native", "grpcio"),
    "inline_runs": ("auto", "never"),
    "isolation": ("none", "process"),
    "model_control_mode": ("none", "explicit"),
}


def check_listening(options: ServerOptions) -> None:
    """Refuse a server without any gRPC address; the port of the REST API may do for both.

    Raises:
        InvalidArgument: there is none.
    """
    is_shared = options.enable_port_sharing and is_native(options)
    has_rest = options.rest_api_port != 0 and is_shared
    if options.port == 0 and not options.grpc_socket_path and not has_rest:
        raise InvalidArgument(
            "At least one of server_options.grpc_port or "
            "server_options.grpc_socket_path must be set."
        )


def check_credentials(options: ServerOptions) -> None:
    """Refuse two kinds of credentials at once.

    Raises:
        InvalidArgument: both are asked for.
    """
    if options.use_alts_credentials and options.ssl_config_file:
        raise InvalidArgument(
            "Either use_alts_credentials must be false or ssl_config_file must be empty."
        )


def check_model_source(options: ServerOptions) -> None:
    """Refuse a server that is told of no model.

    Raises:
        InvalidArgument: neither flag names one.
    """
    if not options.model_base_path and not options.model_config_file:
        raise InvalidArgument(
            "Both server_options.model_base_path and server_options.model_config_file are empty!",
            hint="Give --model_base_path=DIRECTORY or --model_config_file=FILE.",
        )


def check_batching(options: ServerOptions) -> None:
    """Refuse batching parameters without batching.

    Raises:
        InvalidArgument: the file is named, and batching is off.
    """
    if options.batching_parameters_file and not options.enable_batching:
        raise InvalidArgument(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )


def check_parallelism(options: ServerOptions) -> None:
    """Refuse thread counts that contradict each other.

    Raises:
        InvalidArgument: all three are set.
    """
    if (
        options.tensorflow_intra_op_parallelism > 0
        and options.tensorflow_inter_op_parallelism > 0
        and options.tensorflow_session_parallelism > 0
    ):
        raise InvalidArgument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. "
            "You cannot configure all."
        )


_SECONDS: Final = (
    "drain_timeout_seconds",
    "drain_delay_seconds",
    "conversion_timeout_seconds",
    "load_timeout_seconds",
)
_MOST_REMOTE_S: Final = 86_400.0


def check_ours(options: ServerOptions) -> None:
    """Refuse values of our own flags that mean nothing.

    Raises:
        InvalidArgument: a time is negative or no number, a limit lets nothing through, the port is
            none, a host is none, or there is no such choice or library.
    """
    if not 0 <= options.rest_api_port <= _LAST_PORT:
        raise InvalidArgument(
            f"--rest_api_port must be from 0 to {_LAST_PORT}, not {options.rest_api_port}."
        )
    _check_seconds(options)
    sizes = ("max_request_bytes", "max_inflated_bytes", "max_inflate_ratio", "max_header_bytes")
    for name in sizes:
        limit = getattr(options, name)
        if limit < 1:
            raise InvalidArgument(f"--{name} must be positive, not {limit}.")
    limits = ("max_ended_versions", "max_model_memory_bytes", "conversion_cache_max_bytes")
    runs = ("max_concurrent_runs_per_model", "max_queued_runs_per_model")
    for name in (*limits, *runs, "max_loaded_models", "max_memory_in_flight_bytes"):
        most = getattr(options, name)
        if most < 0:
            raise InvalidArgument(f"--{name} must be from 0 up, not {most}; 0 is no limit.")
    _check_choices(options)
    _check_workers(options)
    read_allowed_hosts(options.allowed_hosts)
    for path in filter(None, options.custom_op_libraries.split(",")):
        if not os.path.isfile(path):
            raise InvalidArgument(f"--custom_op_libraries: there is no file {path}")


def _check_seconds(options: ServerOptions) -> None:
    """Refuse what is no time, and times with which no store could be asked."""
    for name in _SECONDS:
        seconds = getattr(options, name)
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InvalidArgument(f"--{name} must be a number of seconds from 0 up, not {seconds}.")
    for name, least_s in (("remote_stale_wait_seconds", 0.0), ("remote_timeout_seconds", 0.01)):
        seconds = getattr(options, name)
        if not least_s <= seconds <= _MOST_REMOTE_S:
            raise InvalidArgument(
                f"--{name} must be from {least_s:g} to {_MOST_REMOTE_S:g}, not {seconds}."
            )


def _check_choices(options: ServerOptions) -> None:
    """Refuse what is none of the few words a flag takes."""
    for name, choices in _CHOICES.items():
        chosen = getattr(options, name)
        if chosen not in choices:
            raise InvalidArgument(f"--{name} must be {' or '.join(choices)}, not {chosen!r}.")


def _check_workers(options: ServerOptions) -> None:
    """Refuse too many, and a transport that several processes cannot share."""
    if not 0 <= options.workers <= _MOST_WORKERS:
        raise InvalidArgument(
            f"--workers must be from 0 to {_MOST_WORKERS}, not {options.workers}."
        )
    has_grpc = options.port != 0 or bool(options.grpc_socket_path)
    if options.workers != 1 and has_grpc and not is_native(options):
        raise InvalidArgument(
            "--workers needs --grpc_transport=native, and so works without ALTS: the gRPC library "
            "does not share its ports with other processes."
        )


def rest_port_refusal(options: ServerOptions) -> str | None:
    """Why the REST API is left out though it has a port, if it is; the reference only logs it."""
    if options.rest_api_port == 0 or options.rest_api_port != options.port:
        return None
    return (
        "server_options.http_port cannot be same as grpc_port. Please use a different port for "
        "HTTP/REST API. Skipped exporting HTTP/REST API."
    )
