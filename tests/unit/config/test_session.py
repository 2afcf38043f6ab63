from pathlib import Path
from typing import Any

import pytest

from salver._pb import message_class
from salver.config.options import ServerOptions
from salver.config.session import SessionConfig, session_config, session_config_of
from salver.errors import InvalidArgument, NotFound


def _proto(session: SessionConfig) -> Any:
    return message_class("tensorflow.ConfigProto").FromString(session.config_proto)


def test_without_flags_tensorflow_decides() -> None:
    session = session_config(ServerOptions())
    config = _proto(session)
    assert config.intra_op_parallelism_threads == 0
    assert config.inter_op_parallelism_threads == 0
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.0
    assert session.saved_model_tags == ("serve",)
    assert session.custom_op_libraries == ()


@pytest.mark.parametrize(
    ("session", "intra", "inter", "expected"),
    [
        (0, 0, 0, (0, 0)),
        (3, 0, 0, (3, 3)),
        (3, 1, 0, (1, 0)),
        (3, 0, 1, (0, 1)),
        (0, 1, 2, (1, 2)),
        (3, -1, 0, (3, 3)),
        ((1 << 32) + 5, 0, 0, (5, 5)),
        (-2, 0, 0, (-2, -2)),
    ],
)
def test_specific_parallelism_wins_over_that_of_the_session(
    session: int, intra: int, inter: int, expected: tuple[int, int]
) -> None:
    options = ServerOptions(
        tensorflow_session_parallelism=session,
        tensorflow_intra_op_parallelism=intra,
        tensorflow_inter_op_parallelism=inter,
    )
    config = _proto(session_config(options))
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == expected


def test_all_three_are_too_many() -> None:
    options = ServerOptions(
        tensorflow_session_parallelism=1,
        tensorflow_intra_op_parallelism=1,
        tensorflow_inter_op_parallelism=1,
    )
    with pytest.raises(InvalidArgument, match="You cannot configure all"):
        session_config(options)


def test_flags_overwrite_threads_and_gpu_memory_of_the_file_even_with_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "session.conf"
    path.write_text(
        "intra_op_parallelism_threads: 7 inter_op_parallelism_threads: 8 "
        "gpu_options { per_process_gpu_memory_fraction: 0.9 allow_growth: true } "
        "use_per_session_threads: true "
        "graph_options { optimizer_options { global_jit_level: ON_1 } "
        "rewrite_options { disable_meta_optimizer: true custom_optimizers { name: 'x' "
        "parameter_map { key: 'k' value { i: 3 } } } } }"
    )
    config = _proto(session_config(ServerOptions(tensorflow_session_config_file=str(path))))
    assert config.intra_op_parallelism_threads == 0
    assert config.inter_op_parallelism_threads == 0
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.0
    assert config.gpu_options.allow_growth
    assert config.use_per_session_threads
    assert config.graph_options.optimizer_options.global_jit_level == 1
    assert config.graph_options.rewrite_options.disable_meta_optimizer


def test_a_missing_session_file_is_not_found(tmp_path: Path) -> None:
    options = ServerOptions(tensorflow_session_config_file=str(tmp_path / "absent"))
    with pytest.raises(NotFound):
        session_config(options)


def test_gpu_memory_is_what_the_flag_says() -> None:
    config = _proto(session_config(ServerOptions(per_process_gpu_memory_fraction=0.25)))
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.25


def test_bfloat16_turns_the_rewriter_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = _proto(session_config(ServerOptions(mixed_precision="bfloat16")))
    assert config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == 1
    assert caplog.messages == ["Running inference with bfloat16 auto mixed precision"]


def test_any_other_precision_is_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config = _proto(session_config(ServerOptions(mixed_precision="float8")))
    assert not config.HasField("graph_options")
    assert caplog.messages == [
        "float8 auto mixed precision is not supported. Valid option: bfloat16"
    ]


def test_tags_and_libraries_are_lists() -> None:
    session = session_config(
        ServerOptions(saved_model_tags="serve,gpu", custom_op_libraries="a.so,/b.so,")
    )
    assert session.saved_model_tags == ("serve", "gpu")
    assert session.custom_op_libraries == ("a.so", "/b.so")


def test_no_tags_mean_the_default_one() -> None:
    assert session_config(ServerOptions(saved_model_tags="")).saved_model_tags == ("serve",)


@pytest.mark.parametrize(("cpu", "gpu"), [(False, False), (True, False), (False, True)])
def test_either_flag_turns_xla_on(*, cpu: bool, gpu: bool) -> None:
    options = ServerOptions(xla_cpu_compilation_enabled=cpu, xla_gpu_compilation_enabled=gpu)
    assert session_config(options).is_xla_enabled == (cpu or gpu)


def _bundle(**fields: Any) -> Any:
    return message_class("tensorflow.serving.SessionBundleConfig")(**fields)


def test_bundle_that_says_nothing_leaves_all_to_tensorflow() -> None:
    assert session_config_of(_bundle(), ServerOptions(saved_model_tags="gpu")) == SessionConfig(
        config_proto=b"", saved_model_tags=("serve",)
    )


def test_bundle_takes_the_place_of_the_session_flags() -> None:
    bundle = _bundle(
        session_target="grpc://127.0.0.1:1",
        session_config={"intra_op_parallelism_threads": 3},
        session_run_load_threadpool_index={"value": 0},
        saved_model_tags=["serve", "gpu"],
        enable_session_metadata=True,
        mixed_precision="bfloat16",
    )
    options = ServerOptions(
        tensorflow_intra_op_parallelism=9,
        custom_op_libraries="a.so",
        xla_gpu_compilation_enabled=True,
    )
    session = session_config_of(bundle, options)
    config = _proto(session)
    assert config.intra_op_parallelism_threads == 3
    assert config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == 1
    assert not bundle.session_config.HasField("graph_options")
    assert session.saved_model_tags == ("serve", "gpu")
    assert (session.target, session.load_thread_pool) == ("grpc://127.0.0.1:1", 0)
    assert session.has_metadata
    assert session.custom_op_libraries == ("a.so",)
    assert session.is_xla_enabled
