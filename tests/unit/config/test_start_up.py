import os
from pathlib import Path
from typing import Any

import pytest

from salver.config.models import ModelConfig
from salver.config.options import FLAGS, ServerOptions
from salver.config.start_up import check_readable_again, read_configuration
from salver.errors import InvalidArgument, NotFound
from salver.instruments.files import NotRegular

_A = ModelConfig(name="a", base_path="/models/a", model_platform="tensorflow")


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad"
    path.write_text("improperly formatted file")
    return str(path)


def _message(options: ServerOptions, *models: ModelConfig) -> str:
    with pytest.raises(InvalidArgument) as caught:
        read_configuration(options, models or None)
    return caught.value.message


def test_one_model_by_flags() -> None:
    configuration = read_configuration(ServerOptions(model_name="a", model_base_path="/models/a"))
    assert configuration.models == (_A,)
    assert configuration.rest_tls is None
    assert configuration.options.model_name == "a"
    assert list(configuration.platforms) == ["tensorflow"]
    assert configuration.saved_model_tags == ("serve",)


def test_the_file_overrides_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "models.conf"
    path.write_text(
        'model_config_list { config { name: "b" base_path: "/b" model_platform: "tensorflow" } }'
    )
    options = ServerOptions(
        model_config_file=str(path), model_name="a", model_base_path="/models/a"
    )
    models = read_configuration(options).models
    assert models is not None
    assert [model.name for model in models] == ["b"]


def test_a_file_that_asks_for_nothing_gives_no_models(tmp_path: Path) -> None:
    path = tmp_path / "models.conf"
    path.write_text("# nothing yet")
    assert read_configuration(ServerOptions(model_config_file=str(path))).models is None


def test_models_in_hand_need_no_flags() -> None:
    assert read_configuration(ServerOptions(port=0), (_A,)).models == (_A,)


def test_models_are_checked_wherever_they_come_from() -> None:
    assert "Illegal to list model a" in _message(ServerOptions(), _A, _A)


def test_the_first_thing_that_is_wrong_ends_the_start(bad: str) -> None:
    """Each round mends what the round before was refused for."""
    wrong: dict[str, Any] = {
        "port": 0,
        "use_alts_credentials": True,
        "ssl_config_file": "x",
        "model_config_file": "",
        "batching_parameters_file": "x",
        "tensorflow_session_parallelism": 1,
        "tensorflow_intra_op_parallelism": 1,
        "tensorflow_inter_op_parallelism": 1,
        "tensorflow_session_config_file": bad,
    }
    rounds: list[tuple[dict[str, Any], str]] = [
        ({"port": 1}, "At least one of server_options.grpc_port"),
        ({"ssl_config_file": ""}, "Either use_alts_credentials must be false"),
        ({"model_config_file": bad}, "Both server_options.model_base_path"),
        ({"model_config_file": "", "model_base_path": "/m"}, f"Invalid protobuf file: '{bad}'"),
        ({"batching_parameters_file": ""}, "server_options.batching_parameters_file is set"),
        ({"tensorflow_session_config_file": ""}, f"Invalid protobuf file: '{bad}'"),
        ({"tensorflow_session_parallelism": 0}, "Either configure server_options"),
    ]
    for mended, text in rounds:
        assert _message(ServerOptions(**wrong)).startswith(text)
        wrong |= mended
    read_configuration(ServerOptions(**wrong))


def test_our_own_flags_are_checked_too() -> None:
    assert "--max_header_bytes must be positive" in _message(
        ServerOptions(model_base_path="/m", max_header_bytes=0)
    )


@pytest.mark.parametrize(
    "flag",
    [
        "model_config_file",
        "tensorflow_session_config_file",
        "platform_config_file",
        "thread_pool_factory_config_file",
        "ssl_config_file",
        "rest_ssl_config_file",
    ],
)
def test_every_file_is_read_whether_its_flag_has_an_effect_or_not(flag: str, bad: str) -> None:
    options: dict[str, Any] = {"model_base_path": "/m", flag: bad}
    assert _message(ServerOptions(**options)) == f"Invalid protobuf file: '{bad}'"
    options[flag] = f"{bad}.absent"
    with pytest.raises(NotFound) as caught:
        read_configuration(ServerOptions(**options))
    assert caught.value.message == f"{bad}.absent; No such file or directory"


def test_the_batching_file_is_read_when_batching_is_on(bad: str) -> None:
    options = ServerOptions(
        model_base_path="/m", enable_batching=True, batching_parameters_file=bad
    )
    assert _message(options) == f"Invalid protobuf file: '{bad}'"


def test_a_platform_file_leaves_the_batching_file_unread(bad: str, tmp_path: Path) -> None:
    platforms = tmp_path / "platforms"
    platforms.write_text("# none")
    configuration = read_configuration(
        ServerOptions(
            model_base_path="/m",
            platform_config_file=str(platforms),
            batching_parameters_file=bad,
        )
    )
    assert configuration.platforms == {}


def test_the_monitoring_file_is_read_only_with_rest(bad: str) -> None:
    read_configuration(ServerOptions(model_base_path="/m", monitoring_config_file=bad))
    options = ServerOptions(model_base_path="/m", monitoring_config_file=bad, rest_api_port=1)
    assert _message(options) == f"Invalid protobuf file: '{bad}'"


def test_tls_of_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ssl.conf"
    path.write_text('server_cert: "CERT"')
    options = ServerOptions(model_base_path="/m", rest_ssl_config_file=str(path))
    tls = read_configuration(options).rest_tls
    assert tls is not None
    assert tls.server_cert == "CERT"


def test_the_grpc_server_is_set_up_from_its_flags() -> None:
    grpc = read_configuration(ServerOptions(port=7, grpc_channel_arguments="a=1"), (_A,)).grpc
    assert grpc is not None
    assert (grpc.port, grpc.channel_arguments) == (7, (("a", 1),))


def test_models_in_hand_need_no_grpc_address() -> None:
    assert read_configuration(ServerOptions(port=0), (_A,)).grpc is None


def test_wrong_channel_arguments_end_the_start() -> None:
    options = ServerOptions(grpc_channel_arguments="a")
    assert "'a' is not of the form key=value" in _message(options, _A)


def test_thread_pool_factory_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "pools"
    path.write_text("thread_pool_factory_config {}")
    options = ServerOptions(model_base_path="/m", thread_pool_factory_config_file=str(path))
    assert _message(options) == "Supplied config's type_url could not be parsed: "


OF_CONFIGURATION = [
    flag.name for flag in FLAGS if flag.name.endswith(("config_file", "parameters_file"))
]


@pytest.mark.parametrize("flag", OF_CONFIGURATION)
def test_what_a_flag_names_is_read_again_only_where_it_is_a_file(flag: str, tmp_path: Path) -> None:
    path = tmp_path / "any"
    options: dict[str, Any] = {flag: str(path)}
    with pytest.raises(NotFound, match="any; No such file or directory"):
        check_readable_again(ServerOptions(**options))
    path.touch()
    check_readable_again(ServerOptions(**options))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NotRegular, match="any; Is a pipe, not a regular file"):
        check_readable_again(ServerOptions(**options))


def test_every_flag_that_names_a_file_of_configuration_is_known() -> None:
    assert len(OF_CONFIGURATION) == 11


def test_a_wrong_file_of_stores_ends_the_start_up(tmp_path: Path) -> None:
    path = tmp_path / "remote.yaml"
    path.write_text("stores: [{prefix: /models}]")
    options = ServerOptions(model_base_path="/m", remote_config_file=str(path))
    assert "a prefix is a URI" in _message(options)
