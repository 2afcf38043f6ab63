"""How the models of each platform are loaded and run: by flags, or by a file in their place.

Source: TensorFlow Serving `model_servers/server.cc` (BuildAndStart), `server_core.cc`
(CreateAdapter), `servables/tensorflow/session_bundle_config.proto` and
`saved_model_bundle_factory.cc`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from salver.config.batching import BatchingSetup, batching_setup
from salver.config.batching import from_message as batching_parameters
from salver.config.checks import check_batching
from salver.config.models import TENSORFLOW_PLATFORM
from salver.config.options import ServerOptions, settings_of
from salver.config.registered import no_factory, unwrap
from salver.config.session import SessionConfig, session_config, session_config_of
from salver.config.text_format import read_text_file

__all__ = ["PlatformConfig", "WarmupConfig", "platform_of_flags", "read_platforms"]

_log = logging.getLogger(__name__)

_MESSAGE: Final = "tensorflow.serving.PlatformConfigMap"
_ADAPTER: Final = "tensorflow.serving.SavedModelBundleSourceAdapterConfig"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupConfig:
    """Whether and how a version is warmed up before it serves.

    Attributes:
        is_enabled: replay the version's warmup file.
        num_iterations: how often each record is replayed.
        num_threads: of which each replays some of the records.
    """

    is_enabled: bool = True
    num_iterations: int = 1
    num_threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformConfig:
    """How the models of one platform are loaded and run.

    Attributes:
        session: how a TensorFlow session is made.
        batching: None where requests are not batched.
        settings: what the backends of the models are told, by the names of flags.
        transient_load_bytes: memory that a load takes for a while, beside what the model takes.
    """

    session: SessionConfig
    batching: BatchingSetup | None = None
    warmup: WarmupConfig = field(default_factory=WarmupConfig)
    settings: Mapping[str, object] = field(default_factory=dict)
    transient_load_bytes: int = 0


def read_platforms(options: ServerOptions) -> Mapping[str, PlatformConfig]:
    """What the flags say of the one platform they know, or `--platform_config_file` of all.

    Returns:
        Platform, as `model_platform` names it → its settings. The file may give any names.

    Raises:
        InvalidArgument: flags contradict each other, or a file is wrong.
        Internal: a platform has settings of a type nobody knows.
        ServingError: a file cannot be read.
    """
    if not options.platform_config_file:
        return {TENSORFLOW_PLATFORM: platform_of_flags(options)}
    message = read_text_file(options.platform_config_file, _MESSAGE)
    return {
        name: _from_adapter(unwrap(platform.source_adapter_config), options)
        for name, platform in sorted(message.platform_configs.items())
    }


def platform_of_flags(options: ServerOptions) -> PlatformConfig:
    """What the flags say.

    Raises:
        InvalidArgument: they contradict each other.
        ServingError: a file that they name cannot be read.
    """
    check_batching(options)
    batching = batching_setup(options)
    session = session_config(options)
    return PlatformConfig(
        session=session,
        batching=batching,
        warmup=WarmupConfig(
            is_enabled=options.enable_model_warmup,
            num_iterations=max(1, options.num_request_iterations_for_warmup),
        ),
        settings={**settings_of(options), **session.settings},
    )


def _from_adapter(adapter: Any, options: ServerOptions) -> PlatformConfig:
    if adapter.DESCRIPTOR.full_name != _ADAPTER:
        raise no_factory(adapter)
    bundle = adapter.legacy_config
    session = session_config_of(bundle, options)
    values = {each.name: getattr(bundle, each.name) for each in bundle.DESCRIPTOR.fields}
    plain = {name: of for name, of in values.items() if isinstance(of, (bool, int, float, str))}
    return PlatformConfig(
        session=session,
        batching=_batching(bundle),
        warmup=_warmup(bundle),
        settings={**settings_of(options), **plain, **session.settings},
        transient_load_bytes=bundle.experimental_transient_ram_bytes_during_load,
    )


def _batching(bundle: Any) -> BatchingSetup | None:
    if not bundle.HasField("batching_parameters"):
        return None
    setup = BatchingSetup.of(
        batching_parameters(bundle.batching_parameters),
        is_per_model=bundle.enable_per_model_batching_params,
    )
    # The wrapper for sessions without thread pools takes the place of the one that batches.
    return None if bundle.wrap_session_with_no_threading_params else setup


def _warmup(bundle: Any) -> WarmupConfig:
    options = bundle.model_warmup_options
    return WarmupConfig(
        is_enabled=bundle.enable_model_warmup,
        num_iterations=options.num_request_iterations.value
        if options.HasField("num_request_iterations")
        else 1,
        num_threads=max(1, options.num_model_warmup_threads.value),
    )
