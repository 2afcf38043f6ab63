from pathlib import Path

import pytest

from salver import __version__
from salver.cli.salver import main
from salver.cli.serve import SERVE_DEFAULTS
from salver.config.models import ModelConfig
from salver.config.options import FLAGS, Announcement, ServedModel, ServeMode, ServerOptions


class _Server:
    """A server that records how it was started, looks at its models, and ends at once."""

    def __init__(self, error: BaseException | None = None, has_ended: bool = True) -> None:
        self.started: list[tuple[ServerOptions, tuple[ModelConfig, ...] | None, ServeMode]] = []
        self.files: list[str] = []
        self.error, self.has_ended = error, has_ended

    def __call__(
        self, options: ServerOptions, models: tuple[ModelConfig, ...] | None, mode: ServeMode
    ) -> bool:
        self.started.append((options, models, mode))
        for model in models or ():
            self.files += [str(path) for path in Path(model.base_path).glob("*/*")]
        if self.error is not None:
            raise self.error
        return self.has_ended


def _main(*arguments: str, server: _Server | None = None) -> int:
    return main(["salver", *arguments], server or _Server())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "digits" / "1"
    path.mkdir(parents=True)
    (path / "saved_model.pb").touch()
    return path.parent


def test_serve_starts_with_friendly_defaults(model: Path) -> None:
    server = _Server()
    assert _main("serve", str(model), "--drain_timeout_seconds=5", server=server) == 0
    ((options, models, mode),) = server.started
    assert (options.rest_api_port, options.host, options.port) == (8501, "127.0.0.1", 8500)
    assert options.open_ports_before_load
    assert options.enable_playground
    assert options.drain_timeout_seconds == 5.0
    assert models is not None
    assert [found.name for found in models] == ["digits"]
    assert (mode.tolerate_failed_models, mode.exit_on_bind_failure) == (True, True)
    assert mode.tolerate_taken_grpc_port


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ((), "localhost"),
        (("--allowed_hosts=",), "localhost"),
        (("--allowed_hosts=a.test",), "a.test"),
        (("--allowed_hosts=*",), "*"),
    ],
)
def test_hosts_are_checked_whatever_the_flag_says(
    flags: tuple[str, ...], allowed: str, model: Path
) -> None:
    server = _Server()
    assert _main("serve", str(model), *flags, server=server) == 0
    ((options, _, _),) = server.started
    assert options.allowed_hosts == allowed


def test_a_grpc_port_that_was_asked_for_must_be_had(model: Path) -> None:
    server = _Server()
    assert _main("serve", str(model), "--port=8500", server=server) == 0
    assert not server.started[0][2].tolerate_taken_grpc_port


@pytest.mark.parametrize("grpc", ["--port=8500", "--grpc_socket_path=s"])
def test_grpc_alone_can_be_served(model: Path, grpc: str) -> None:
    server = _Server()
    assert _main("serve", str(model), "--rest_api_port=0", grpc, server=server) == 0
    assert len(server.started) == 1


def test_one_port_can_do_for_both_apis(model: Path) -> None:
    server = _Server()
    assert _main("serve", str(model), "--port=8501", server=server) == 0
    options = server.started[0][0]
    assert (options.port, options.rest_api_port) == (8501, 8501)


def test_flags_override_the_friendly_defaults(model: Path) -> None:
    server = _Server()
    assert _main("serve", "--host", "::1", "--", str(model), server=server) == 0
    assert server.started[0][0].host == "::1"


def test_a_plain_saved_model_is_served_from_a_place_that_goes_afterwards(model: Path) -> None:
    plain = (model / "1").rename(model.parent / "plain")
    server = _Server()
    assert _main("serve", str(plain), server=server) == 0
    ((_, models, _),) = server.started
    assert models is not None
    assert len(server.files) == 1
    assert not Path(models[0].base_path).exists()
    assert (plain / "saved_model.pb").exists()


def test_the_process_leaves_at_once_when_a_model_will_not_end(model: Path) -> None:
    left: list[int] = []
    assert main(["salver", "serve", str(model)], _Server(has_ended=False), left.append) == 0
    assert left == [0]


def test_models_can_come_from_flags() -> None:
    server = _Server()
    assert _main("serve", "--model_base_path=/m", server=server) == 0
    assert server.started[0][1] is None


def test_the_announcement_is_printed(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = _Server()
    _main("serve", str(model), server=server)
    announce = server.started[0][2].announce
    assert announce is not None
    announce(Announcement(rest_url="http://127.0.0.1:8501", models=()))
    assert f"Salver {__version__} serves 0 models at" in capsys.readouterr().out


def test_the_announcement_names_the_path_that_was_given(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = (model / "1").rename(model.parent / "plain")

    def run(
        options: ServerOptions, models: tuple[ModelConfig, ...] | None, mode: ServeMode
    ) -> bool:
        assert options.enable_playground
        assert models is not None
        assert mode.announce is not None
        (found,) = models
        served = ServedModel(name=found.name, base_path=found.base_path, versions=(1,))
        mode.announce(Announcement(rest_url="http://127.0.0.1:8501", models=(served,)))
        return True

    assert main(["salver", "serve", str(plain)], run) == 0
    assert f"  plain  version 1  {plain}\n" in capsys.readouterr().out


def test_a_flag_without_effect_gives_one_warning(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _main("serve", str(model), "--skip_initialize_tpu")
    assert capsys.readouterr().err == (
        "salver: --skip_initialize_tpu has no effect: there is no TPU runtime here\n"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("serve",), "which model? usage: salver serve PATH|NAME=PATH"),
        (("serve", "p", "--prot=1"), "there is no flag --prot=1: did you mean --port?"),
        (("serve", "p", "--zzz"), "there is no flag --zzz: see salver serve --help"),
        (("serve", "p", "--port=x"), "Couldn't interpret value x for flag port."),
        (
            ("serve", "p", "--rest_api_port=0", "--port=0"),
            "--rest_api_port=0 and --port=0 leave nothing to listen on",
        ),
        (
            ("serve", "p", "--rest_api_port=8500", "--enable_port_sharing=false"),
            "--rest_api_port and --port must differ; both are 8500",
        ),
        (
            ("serve", "p", "--rest_api_port=8500", "--grpc_transport=grpcio"),
            "--rest_api_port and --port must differ; both are 8500",
        ),
        (("serve", "p", "--model_name=m"), "name a model by NAME=PATH, not by --model_name"),
        (("serve", "p", "--model_config_file=f"), "give paths, or --model_base_path or"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    arguments: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = _Server()
    assert _main(*arguments, server=server) == 2
    assert f"salver: {text}" in capsys.readouterr().err
    assert server.started == []


def test_help_on_serve_lists_the_flags_with_its_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _main("serve", "x", "--help-all") == 0
    out = capsys.readouterr().out
    assert f"--rest_api_port={SERVE_DEFAULTS.rest_api_port}" in out
    assert '--host="127.0.0.1"' in out
    assert all(f"--{flag.name}=" in out for flag in FLAGS)


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_on_serve_begins_with_examples_and_groups_what_people_look_for(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main("serve", word) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: salver serve PATH|NAME=PATH ... [--flag=value ...]\n")
    assert out.index("Examples:") < out.index("Where it listens:") < out.index("--workers=1")
    assert "--host=127.0.0.1" in out
    assert "--help-all" in out


def test_the_paths_that_are_typed_are_trusted_and_uris_are_not(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = _Server()
    (tmp_path / "net.tflite").touch()
    _main("serve", "d=./digits/../digits", "net.tflite", "x=s3://bucket/m", server=server)
    options, models, _ = server.started[0]
    assert models is not None
    made = models[1].base_path  # in which the file is version 1
    assert options.typed_paths == (str(model), str(tmp_path / "net.tflite"), made)
    assert options.trusted_model_paths == ""


def test_a_base_path_in_a_flag_is_not_trusted(model: Path) -> None:
    server = _Server()
    _main("serve", f"--model_base_path={model}", server=server)
    assert server.started[0][0].typed_paths == ()


def test_flags_of_the_environment_and_of_a_file_are_taken(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "flags"
    file.write_text("--workers=3\n--port=1\n--drain_timeout_seconds=2")
    monkeypatch.setenv("SALVER_FLAG_FLAGFILE", str(file))
    monkeypatch.setenv("SALVER_FLAG_PORT", "7000")
    server = _Server()
    assert _main("serve", str(model), "--workers=2", server=server) == 0
    ((options, _, mode),) = server.started
    assert (options.port, options.workers, options.drain_timeout_seconds) == (7000, 2, 2.0)
    assert not mode.tolerate_taken_grpc_port


def test_a_variable_that_is_no_flag_ends_the_start(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SALVER_FLAG_WORKER", "2")
    assert _main("serve", str(model)) == 1
    assert "SALVER_FLAG_WORKER: there is no flag --worker" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--help", "--help-all"])
def test_help_is_there_whatever_the_environment_says(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SALVER_FLAG_WORKER", "2")
    assert _main("serve", word) == 0
    assert "usage: salver serve" in capsys.readouterr().out


def test_a_cloud_names_the_models_that_nobody_has_typed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIP_STORAGE_URI", str(model))
    server = _Server()
    assert _main("serve", "--cloud_contract=vertex", server=server) == 0
    ((options, models, _),) = server.started
    assert models is not None
    assert [found.name for found in models] == ["digits"]
    assert (options.rest_api_port, options.allowed_hosts) == (8080, "*")
    assert options.typed_paths == ()  # nobody has typed it, so nobody trusts it
    assert _main("serve", "--cloud_contract=vertex", str(model), server=server) == 0
    assert server.started[1][0].typed_paths == (str(model),)


def test_a_path_beside_a_model_of_the_environment_is_refused_with_its_place(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SALVER_FLAG_MODEL_CONFIG_FILE", "m.yaml")
    assert _main("serve", str(model)) == 2
    assert "--model_config_file (SALVER_FLAG_MODEL_CONFIG_FILE)" in capsys.readouterr().err
