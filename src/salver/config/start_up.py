"""Everything a server is told at start-up, read and checked in the reference's order.

Source: TensorFlow Serving `model_servers/server.cc`, BuildAndStart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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
    read_model_config_file,
)
from salver.config.monitoring import MonitoringConfig, read_monitoring_config
from salver.config.options import ServerOptions
from salver.config.platform import PlatformConfig, read_platforms
from salver.config.registered import read_thread_pool_factory
from salver.config.text_format import file_error
from salver.config.tls import TlsConfig, read_ssl_config_file
from salver.files import check_regular

__all__ = ["Configuration", "check_readable_again", "read_configuration"]

_FILES: Final = (
    "model_config_file",
    "batching_parameters_file",
    "platform_config_file",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
    "monitoring_config_file",
    "ssl_config_file",
    "rest_ssl_config_file",
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
    """

    options: ServerOptions
    models: tuple[ModelConfig, ...] | None
    platforms: Mapping[str, PlatformConfig]
    rest_tls: TlsConfig | None
    grpc: GrpcConfig | None
    monitoring: MonitoringConfig

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
    if models is None:
        check_listening(options)
        check_credentials(options)
        check_model_source(options)
        models = _models(options)
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
    return Configuration(options, models, platforms, rest_tls, grpc, monitoring)


def check_readable_again(options: ServerOptions) -> None:
    """Look whether what `read_configuration` has read once can be read another time.

    Raises:
        NotRegular: a flag names a pipe, which whoever wrote to it may not write to again.
        ServingError: a file cannot be read.
    """
    for name in _FILES:
        if path := getattr(options, name):
            try:
                check_regular(path)
            except OSError as error:
                raise file_error(path, error) from error


def _models(options: ServerOptions) -> tuple[ModelConfig, ...] | None:
    if options.model_config_file:
        return read_model_config_file(options.model_config_file)
    return from_flags(options.model_name, options.model_base_path)


def _read_others(options: ServerOptions) -> None:
    """The files the reference reads once its models are up; here nothing has to wait for that."""
    if options.thread_pool_factory_config_file:
        read_thread_pool_factory(options.thread_pool_factory_config_file)
