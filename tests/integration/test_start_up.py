"""How the two commands start, and how they say that they cannot."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server, eventually, free_port, run_command

StartServer = Callable[..., Server]
REFERENCE = "tensorflow_model_server"


def failure(*flags: str) -> str:
    """What `tensorflow_model_server` prints on standard output before it ends with 255."""
    ended = run_command(REFERENCE, "--rest_api_port=" + str(free_port()), *flags)
    assert ended.returncode == 255, ended.stdout + ended.stderr
    return ended.stdout.strip()


class TestRefusals:
    def test_without_a_model(self) -> None:
        assert failure() == (
            "Failed to start server. Error: INVALID_ARGUMENT: Both server_options.model_base_path "
            "and server_options.model_config_file are empty!"
        )

    def test_with_a_config_that_is_no_protobuf(self, tmp_path: Path) -> None:
        config = tmp_path / "models.conf"
        config.write_text("improperly formatted file")
        ended = run_command(REFERENCE, f"--model_config_file={config}", "--rest_api_port=0")
        assert ended.returncode == 255
        assert ended.stdout.strip() == (
            f"Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '{config}'"
        )
        assert "Error parsing text-format tensorflow.serving.ModelServerConfig: " in ended.stderr

    def test_with_a_config_that_lists_a_model_twice(self, tmp_path: Path) -> None:
        config = tmp_path / "models.conf"
        one = f'config {{ name: "m" base_path: "{tmp_path}" model_platform: "tensorflow" }}'
        config.write_text(f"model_config_list {{ {one} {one} }}")
        assert failure(f"--model_config_file={config}") == (
            "Failed to start server. Error: INVALID_ARGUMENT: "
            "Illegal to list model m multiple times in config list"
        )

    def test_with_an_unknown_platform(self, tmp_path: Path) -> None:
        config = tmp_path / "models.conf"
        config.write_text(
            f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path}" '
            'model_platform: "Tensorflow" } }'
        )
        assert failure(f"--model_config_file={config}") == (
            "Failed to start server. Error: INVALID_ARGUMENT: "
            "Model m requests unsupported platform Tensorflow"
        )

    def test_with_a_label_of_a_version_that_is_not_loaded_yet(
        self, tmp_path: Path, model_path: Callable[[str], Path]
    ) -> None:
        config = tmp_path / "models.conf"
        config.write_text(
            f'model_config_list {{ config {{ name: "m" base_path: "{model_path("half_plus_two")}" '
            'model_platform: "tensorflow" version_labels { key: "stable" value: 123 } } }'
        )
        assert failure(f"--model_config_file={config}") == (
            "Failed to start server. Error: FAILED_PRECONDITION: Request to assign label to "
            "version 123 of model m, which is not currently available for inference"
        )

    def test_with_a_model_that_cannot_load(self, model_path: Callable[[str], Path]) -> None:
        base = model_path("legacy_bundle")
        assert failure(
            "--model_name=m", f"--model_base_path={base}", "--max_num_load_retries=0"
        ) == (
            "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
            "{{{name: m version: 1} due to error: UNIMPLEMENTED: "
            "Session Bundle is deprecated and removed.}, }"
        )

    def test_with_tags_no_graph_has(self, model_path: Callable[[str], Path]) -> None:
        said = failure(
            "--model_name=m",
            f"--model_base_path={model_path('two_tags')}",
            "--saved_model_tags=gpu",
            "--max_num_load_retries=0",
        )
        assert "NOT_FOUND: Could not find meta graph def matching supplied tags: { gpu }" in said

    def test_with_a_value_of_the_wrong_form(self) -> None:
        ended = run_command(REFERENCE, "--rest_api_port=many")
        assert ended.returncode == 255
        assert "Couldn't interpret value many for flag rest_api_port." in ended.stderr
        assert ended.stdout.startswith(f"usage: {REFERENCE}\nFlags:\n")

    def test_salver_serve_says_that_its_port_is_taken_and_ends(
        self, model_path: Callable[[str], Path]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = run_command(
                "salver", "serve", str(model_path("half_plus_two")), f"--rest_api_port={port}"
            )
        assert ended.returncode not in (0, -6, -11)
        assert str(port) in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr

    def test_salver_serve_says_that_a_path_is_not_there(self, tmp_path: Path) -> None:
        ended = run_command("salver", "serve", str(tmp_path / "nothing"))
        assert ended.returncode not in (0, -6, -11)
        assert "nothing" in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr


class TestReference:
    def test_a_taken_rest_port_is_logged_and_the_server_stays_up(
        self, model_path: Callable[[str], Path], launch_server: StartServer
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = launch_server(f"--model_base_path={model_path('half_plus_two')}", port=port)
            server.err.wait_for(f"Failed to start HTTP Server at localhost:{port}")
            assert server.process.poll() is None
            assert server.stop() == 0

    def test_the_lines_users_wait_for_are_on_standard_error(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        base = model_path("half_plus_two")
        server = start_server("--model_name=m", f"--model_base_path={base}")
        for line in (
            f"Building single TensorFlow model file config:  model_name: m model_base_path: {base}",
            "Adding/updating models.",
            " (Re-)adding model: m",
            "Finished adding/updating models",
            "Successfully reserved resources to load servable {name: m version: 123}",
            "Approving load for servable version {name: m version: 123}",
            "Loading servable version {name: m version: 123}",
            "Successfully loaded servable version {name: m version: 123}",
            f"Exporting HTTP/REST API at:localhost:{server.port} ...",
        ):
            server.err.wait_for(line, within_s=1)

    def test_the_port_opens_only_when_the_first_model_is_there(
        self, tmp_path: Path, model_path: Callable[[str], Path], launch_server: StartServer
    ) -> None:
        server = launch_server("--model_name=m", f"--model_base_path={tmp_path}")
        server.err.wait_for(f"No versions of servable m found under base path {tmp_path}")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        shutil.copytree(model_path("half_plus_two") / "00000123", tmp_path / "unfinished")
        (tmp_path / "unfinished").rename(tmp_path / "1")
        server.err.wait_for("Exporting HTTP/REST API at:localhost:")
        assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}

    def test_an_unknown_flag_is_named_and_the_server_starts(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        server = start_server(
            "--rest_port=8501", "--model_name=m", f"--model_base_path={model_path('half_plus_two')}"
        )
        server.out.wait_for("unknown argument: --rest_port=8501")
        assert server.predict("m", [2.0]).status_code == 200

    def test_version_prints_and_exits_0(self) -> None:
        ended = run_command(REFERENCE, "--version")
        assert ended.returncode == 0
        first, second = ended.stdout.splitlines()
        assert first.startswith("TensorFlow ModelServer: ")
        assert second.startswith("TensorFlow Library: ")

    def test_tags_choose_the_graph(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        base = f"--model_base_path={model_path('two_tags')}"
        plain = start_server("--model_name=m", base)
        on_gpu = start_server("--model_name=m", base, "--saved_model_tags=serve,gpu")
        assert plain.predict("m", [2.0]).json() == {"predictions": [3.0]}
        assert on_gpu.predict("m", [2.0]).json() == {"predictions": [20.0]}

    def test_custom_op_libraries_are_loaded_first(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        base = model_path("custom_op")
        server = start_server(
            "--model_name=m",
            f"--model_base_path={base}",
            f"--custom_op_libraries={base / 'salver_triple.so'}",
        )
        assert server.predict("m", [2.0, 3.0]).json() == {"predictions": [6.0, 9.0]}

    def test_a_missing_custom_op_is_named(self, model_path: Callable[[str], Path]) -> None:
        said = failure(f"--model_base_path={model_path('custom_op')}", "--max_num_load_retries=0")
        assert "SalverTriple" in said


class TestSalverServe:
    def test_one_model_is_served_under_the_name_of_its_directory(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        server = start_server(str(model_path("half_plus_two")), command="salver")
        assert server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}

    def test_a_model_can_be_given_a_name(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        server = start_server(f"half={model_path('half_plus_two')}", command="salver")
        assert server.predict("half", [2.0]).json() == {"predictions": [3.0]}

    def test_a_directory_of_models_serves_them_all_and_the_broken_one_shows_its_error(
        self, tmp_path: Path, model_path: Callable[[str], Path], launch_server: StartServer
    ) -> None:
        for name in ("half_plus_two", "half_plus_three", "corrupt_pb"):
            shutil.copytree(model_path(name), tmp_path / name)
        server = launch_server(str(tmp_path), "--max_num_load_retries=0", command="salver")
        server.out.wait_for("curl")
        server.wait_until("corrupt_pb", 1, "END")
        assert server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}
        assert server.predict("half_plus_three", [2.0]).json() == {"predictions": [4.0]}
        status = server.get("/v1/models/corrupt_pb").json()["model_version_status"][0]["status"]
        assert status["error_code"] != "OK"
        names = [model["name"] for model in server.get("/v1/models").json()["models"]]
        assert sorted(names) == ["corrupt_pb", "half_plus_three", "half_plus_two"]

    def test_it_prints_a_curl_line_that_works(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        server = start_server(str(model_path("half_plus_two")), command="salver")
        line = server.out.wait_for("curl")
        assert f":{server.port}/v1/models/half_plus_two:predict" in line

    def test_while_the_first_model_loads_the_ports_are_open_and_readiness_says_no(
        self, tmp_path: Path, model_path: Callable[[str], Path], launch_server: StartServer
    ) -> None:
        """A load that failed is tried again after a minute, or at once when the files change."""
        base = tmp_path / "m"
        shutil.copytree(model_path("corrupt_pb"), base)
        server = launch_server(str(base), command="salver")
        eventually("the port is open", lambda: _live(server))
        server.wait_until("m", 1, "LOADING")
        assert server.get("/healthz/ready").status_code == 503
        shutil.copytree(model_path("half_plus_two") / "00000123", base / "1", dirs_exist_ok=True)
        eventually("ready", lambda: server.get("/healthz/ready").status_code == 200)
        assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}

    def test_show_prints_signatures_without_importing_tensorflow(
        self, model_path: Callable[[str], Path]
    ) -> None:
        ended = run_command("salver", "show", str(model_path("half_plus_two")))
        assert ended.returncode == 0, ended.stderr
        for part in ("serving_default", "regress_x_to_y2", "DT_FLOAT", "x:0", "serve"):
            assert part in ended.stdout


def _live(server: Server) -> bool:
    try:
        return server.get("/healthz/live").status_code == 200
    except OSError:
        return False
