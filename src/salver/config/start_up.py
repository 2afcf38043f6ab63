"""Everything a server is told at start-up, read and checked in the reference's order.

Source: TensorFlow Serving `model_servers/server.cc`, BuildAndStart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from salver.config.checks import (
    check_credentials,
    check_listening,
    check_model_source,
    check_ours,
)
from salver.config.grpc import GrpcConfig, read_grpc_config
from salver.config.models import (
    TENSORFLOW_PLATFORM,
    ModelConfig,
    check_models,
    from_flags,
    parse_model_config,
)
from salver.config.monitoring import MonitoringConfig, read_monitoring_config
from salver.config.options import ServerOptions
from salver.config.peers import PeerConfig, read_peer_config
from salver.config.platform import PlatformConfig, read_platforms
from salver.config.registered import read_thread_pool_factory
from salver.config.text_format import read_file_once
from salver.config.tls import TlsConfig, read_ssl_config_file
from salver.instruments.files import OsErrorsOf, check_regular
from salver.instruments.signatures import read_public_keys

if TYPE_CHECKING:
    from salver.config.auth import AuthConfig

__all__ = ["Configuration", "check_readable_again", "mark_of", "read_configuration"]

_FILES: Final = (
    "model_config_file",
    "batching_parameters_file",
    "platform_config_file",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
    "monitoring_config_file",
    "ssl_config_file",
    "rest_ssl_config_file",
    "peer_ssl_config_file",
    "manifest_public_key_file",
    "remote_config_file",
    "auth_config_file",
)
"""The flags that name what `read_configuration` reads."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the flags and the files they name say.

    Attributes:
        models: in the order of the configuration, checked by `check_models` (platforms and labels
            are checked when the configuration is applied); None when the file asks for nothing.
        platforms: how models are loaded and run, by the platforms that models may ask for.
        rest_tls: of the REST port; None for plain HTTP.
        grpc: None for a server without the gRPC API.
        monitoring: where metrics are served; on the REST port only.
        auth: who may do what, as the file said then; None: everybody may do everything.
        models_mark: of the bytes of `--model_config_file`, as `mark_of` makes it; None without one.
        peers: other servers, as the flags have them; None for a server that knows of none.
    """

    options: ServerOptions
    models: tuple[ModelConfig, ...] | None
    platforms: Mapping[str, PlatformConfig]
    rest_tls: TlsConfig | None
    grpc: GrpcConfig | None
    monitoring: MonitoringConfig
    auth: "AuthConfig | None" = None
    models_mark: int | None = None
    peers: PeerConfig | None = None

    @property
    def saved_model_tags(self) -> tuple[str, ...]:
        """By which the models of the reference's one platform are loaded; empty without it."""
        platform = self.platforms.get(TENSORFLOW_PLATFORM)
        return () if platform is None else platform.session.saved_model_tags


def read_configuration(
    options: ServerOptions, models: tuple[ModelConfig, ...] | None = None
) -> Configuration:
    """Read what `options` name; the first thing that is wrong ends it.

    Files of flags that have no effect yet are read too, so that a mistake in them shows now.

    Args:
        options: the command line.
        models: what to serve when that was said without flags. The rules which flags must be set
            to start at all then do not apply.

    Raises:
        InvalidArgument: with the reference's text.
        ServingError: a file cannot be read.
    """
    mark: int | None = None
    if models is None:
        check_listening(options)
        check_credentials(options)
        check_model_source(options)
        models, mark = _models(options)
    else:
        check_credentials(options)
    check_ours(options)
    platforms = read_platforms(options)
    _read_others(options)
    has_rest = options.rest_api_port != 0
    monitoring = read_monitoring_config(options.monitoring_config_file if has_rest else "")
    grpc = read_grpc_config(options)
    rest_tls = (
        read_ssl_config_file(options.rest_ssl_config_file) if options.rest_ssl_config_file else None
    )
    if models is not None:
        check_models(models)
    auth = _auth(options.auth_config_file)
    peers = read_peer_config(options)
    return Configuration(options, models, platforms, rest_tls, grpc, monitoring, auth, mark, peers)


def check_readable_again(options: ServerOptions) -> None:
    """Look whether what `read_configuration` has read once can be read another time.

    Raises:
        NotRegular: a flag names a pipe, which whoever wrote to it may not write to again.
        ServingError: a file cannot be read.
    """
    for name in _FILES:
        if path := getattr(options, name):
            with OsErrorsOf(path):
                check_regular(path)


def _auth(path: str) -> "AuthConfig | None":
    if not path:
        return None
    from salver.config.auth import read_auth_config  # here: few servers have one

    return read_auth_config(path)


def mark_of(content: bytes) -> int:
    """Tells whether a file has other bytes now; of this process alone."""
    return hash(content)


def _models(options: ServerOptions) -> tuple[tuple[ModelConfig, ...] | None, int | None]:
    path = options.model_config_file
    if not path:
        return from_flags(options.model_name, options.model_base_path), None
    content = read_file_once(path)
    return parse_model_config(content, path), mark_of(content)


def _read_others(options: ServerOptions) -> None:
    """The files the reference reads once its models are up; here nothing has to wait for that."""
    if options.manifest_public_key_file:
        read_public_keys(options.manifest_public_key_file)
    if options.remote_config_file:
        from salver.config.remote import read_remote_config  # here: few servers have one

        read_remote_config(options.remote_config_file)  # which sources read when they are made
    if options.thread_pool_factory_config_file:
        read_thread_pool_factory(options.thread_pool_factory_config_file)
