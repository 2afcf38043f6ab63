"""Everything a server is told at start-up, read and checked in the reference's order.

Source: TensorFlow Serving `model_servers/server.cc`, BuildAndStart.
"""

from dataclasses import dataclass

from salver.config.checks import (
    check_batching,
    check_credentials,
    check_listening,
    check_model_source,
    check_ours,
)
from salver.config.grpc import GrpcConfig, read_grpc_config
from salver.config.models import ModelConfig, check_models, from_flags, read_model_config_file
from salver.config.options import ServerOptions
from salver.config.session import SessionConfig, session_config
from salver.config.text_format import read_text_file
from salver.config.tls import TlsConfig, read_ssl_config_file

__all__ = ["Configuration", "read_configuration"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the flags and the files they name say.

    Attributes:
        models: in the order of the configuration, checked by `check_models` (platforms and labels
            are checked when the configuration is applied); None when the file asks for nothing.
        session: how TensorFlow models are loaded.
        rest_tls: of the REST port; None for plain HTTP.
        grpc: None for a server without the gRPC API.
    """

    options: ServerOptions
    models: tuple[ModelConfig, ...] | None
    session: SessionConfig
    rest_tls: TlsConfig | None
    grpc: GrpcConfig | None


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
    if options.platform_config_file:
        read_text_file(options.platform_config_file, "tensorflow.serving.PlatformConfigMap")
    else:
        _read_batching(options)
    session = session_config(options)
    _read_others(options)
    grpc = read_grpc_config(options)
    rest_tls = (
        read_ssl_config_file(options.rest_ssl_config_file) if options.rest_ssl_config_file else None
    )
    if models is not None:
        check_models(models)
    return Configuration(options, models, session, rest_tls, grpc)


def _models(options: ServerOptions) -> tuple[ModelConfig, ...] | None:
    if options.model_config_file:
        return read_model_config_file(options.model_config_file)
    return from_flags(options.model_name, options.model_base_path)


def _read_batching(options: ServerOptions) -> None:
    check_batching(options)
    if options.batching_parameters_file:
        read_text_file(options.batching_parameters_file, "tensorflow.serving.BatchingParameters")


def _read_others(options: ServerOptions) -> None:
    """The files the reference reads once its models are up; here nothing has to wait for that."""
    named = (
        (options.thread_pool_factory_config_file, "tensorflow.serving.ThreadPoolFactoryConfig"),
        (
            options.monitoring_config_file if options.rest_api_port != 0 else "",
            "tensorflow.serving.MonitoringConfig",
        ),
    )
    for path, message_name in named:
        if path:
            read_text_file(path, message_name)
