from pathlib import Path
from typing import Any

import pytest

from salver._pb import message_class
from salver.backends.options import fill, pick
from salver.backends.tflite.options import TFLiteOptions
from salver.config.batching import BatchingParameters
from salver.config.options import ServerOptions, schedulable_cpus
from salver.config.platform import PlatformConfig, WarmupConfig, read_platforms
from salver.errors import InvalidArgument, NotFound, ServingError

_ADAPTER = "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"


def _write(path: Path, **platforms: str) -> str:
    """A file that gives each platform the text of a SessionBundleConfig."""
    path.write_text(
        "".join(
            f'platform_configs {{ key: "{name}" value {{ source_adapter_config {{ '
            f"[{_ADAPTER}] {{ legacy_config {{ {bundle} }} }} }} }} }}\n"
            for name, bundle in platforms.items()
        )
    )
    return str(path)


def _of(path: Path, bundle: str, **options: Any) -> PlatformConfig:
    file = _write(path / "platforms", tensorflow=bundle)
    return read_platforms(ServerOptions(platform_config_file=file, **options))["tensorflow"]


def _of_lite_files(platform: PlatformConfig) -> TFLiteOptions:
    return fill(TFLiteOptions, pick("tflite", TFLiteOptions, platform.settings))


def test_flags_describe_one_platform() -> None:
    [(name, platform)] = read_platforms(ServerOptions()).items()
    assert name == "tensorflow"
    assert platform.batching is None
    assert platform.warmup == WarmupConfig()
    assert _of_lite_files(platform) == TFLiteOptions(num_pools=schedulable_cpus())
    assert platform.transient_load_bytes == 0


def test_flags_say_what_a_file_would() -> None:
    platform = read_platforms(
        ServerOptions(
            enable_batching=True,
            enable_per_model_batching_parameters=True,
            saved_model_tags="a,b",
            enable_model_warmup=False,
            num_request_iterations_for_warmup=3,
            prefer_tflite_model=True,
            num_tflite_pools=5,
            num_tflite_interpreters_per_pool=2,
        )
    )["tensorflow"]
    assert platform.batching is not None
    assert platform.batching.is_per_model
    assert platform.session.saved_model_tags == ("a", "b")
    assert platform.warmup == WarmupConfig(is_enabled=False, num_iterations=3)
    assert _of_lite_files(platform) == TFLiteOptions(
        is_preferred=True, num_pools=5, num_interpreters_per_pool=2
    )


def test_negative_iterations_of_the_flag_are_one() -> None:
    options = ServerOptions(num_request_iterations_for_warmup=-1)
    assert read_platforms(options)["tensorflow"].warmup.num_iterations == 1


def test_batching_parameters_without_batching_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="without setting server_options"):
        read_platforms(ServerOptions(batching_parameters_file="x"))


def test_file_that_says_little_turns_off_what_flags_turn_on(tmp_path: Path) -> None:
    platform = _of(
        tmp_path,
        "",
        enable_batching=True,
        prefer_tflite_model=True,
        num_tflite_pools=5,
        saved_model_tags="gpu",
        tensorflow_session_parallelism=7,
    )
    assert platform.batching is None
    assert platform.warmup == WarmupConfig(is_enabled=False)
    assert _of_lite_files(platform) == TFLiteOptions(num_pools=0, num_interpreters_per_pool=0)
    assert platform.session.saved_model_tags == ("serve",)
    assert platform.session.config_proto == b""


def test_file_says_everything(tmp_path: Path) -> None:
    platform = _of(
        tmp_path,
        "session_config { inter_op_parallelism_threads: 2 } saved_model_tags: 'gpu' "
        "batching_parameters { max_batch_size { value: 8 } num_batch_threads { value: 3 } "
        "thread_pool_name { value: 'mine' } } enable_per_model_batching_params: true "
        "enable_model_warmup: true model_warmup_options { num_request_iterations { value: 4 } "
        "num_model_warmup_threads { value: 2 } } prefer_tflite_model: true num_tflite_pools: 6 "
        "num_tflite_interpreters_per_pool: 2 experimental_transient_ram_bytes_during_load: 99 ",
    )
    config = message_class("tensorflow.ConfigProto").FromString(platform.session.config_proto)
    assert config.inter_op_parallelism_threads == 2
    assert platform.session.saved_model_tags == ("gpu",)
    assert platform.batching is not None
    assert platform.batching.parameters == BatchingParameters(
        max_batch_size=8, num_batch_threads=3, thread_pool_name="mine"
    )
    assert platform.batching.is_per_model
    assert platform.warmup == WarmupConfig(num_iterations=4, num_threads=2)
    assert _of_lite_files(platform) == TFLiteOptions(
        is_preferred=True, num_pools=6, num_interpreters_per_pool=2
    )
    assert platform.transient_load_bytes == 99


def test_iterations_of_a_file_may_be_none(tmp_path: Path) -> None:
    bundle = "enable_model_warmup: true model_warmup_options { num_request_iterations {} }"
    assert _of(tmp_path, bundle).warmup.num_iterations == 0


def test_old_name_of_the_interpreters_counts_where_the_new_one_is_not_used(tmp_path: Path) -> None:
    assert _of_lite_files(_of(tmp_path, "num_tflite_interpreters: 3")).num_pools == 3
    both = "num_tflite_interpreters: 3 num_tflite_pools: 4"
    assert _of_lite_files(_of(tmp_path, both)).num_pools == 4


def test_session_without_thread_pools_is_not_batched(tmp_path: Path) -> None:
    bundle = "batching_parameters {} wrap_session_with_no_threading_params: true"
    assert _of(tmp_path, bundle).batching is None


def test_batching_without_threads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="num_batch_threads must be positive; was 0"):
        _of(tmp_path, "batching_parameters { num_batch_threads { value: 0 } }")


def test_file_may_name_platforms_of_its_own(tmp_path: Path) -> None:
    file = _write(tmp_path / "platforms", tensorflow="", big="saved_model_tags: 'gpu'")
    platforms = read_platforms(ServerOptions(platform_config_file=file))
    assert {name: p.session.saved_model_tags for name, p in platforms.items()} == {
        "tensorflow": ("serve",),
        "big": ("gpu",),
    }


@pytest.mark.parametrize(
    ("adapter", "status"),
    [
        ("", "INVALID_ARGUMENT: Supplied config's type_url could not be parsed: "),
        (
            'type_url: "type.googleapis.com/my.Adapter"',
            "INTERNAL: Unable to find compiled-in proto descriptor of type my.Adapter",
        ),
        (
            "[type.googleapis.com/tensorflow.SessionMetadata] { version: 3 }",
            "INVALID_ARGUMENT: Couldn't find factory for config proto message type "
            "tensorflow.SessionMetadata\nconfig=version: 3\n",
        ),
    ],
)
def test_settings_of_another_type_are_refused(tmp_path: Path, adapter: str, status: str) -> None:
    file = tmp_path / "platforms"
    file.write_text(
        'platform_configs { key: "tensorflow" value { source_adapter_config { '
        f"{adapter} }} }} }}"
    )
    with pytest.raises(ServingError) as caught:
        read_platforms(ServerOptions(platform_config_file=str(file)))
    assert caught.value.status == status


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_platforms(ServerOptions(platform_config_file=str(tmp_path / "absent")))
