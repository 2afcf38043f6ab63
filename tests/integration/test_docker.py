"""What the container image is made of, each part tried by itself: no engine builds it here."""

import fnmatch
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import trustme
from dockerfile_parse import DockerfileParser

from tests.integration.certificates import ssl_config
from tests.integration.serving import (
    PATIENCE_S,
    SOURCES,
    Lines,
    Server,
    eventually,
    free_port,
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
ENTRYPOINT = DOCKER / "tf_serving_entrypoint.sh"
TUTORIAL = ROOT / "examples" / "cats_and_dogs"
DOCKERFILES = [
    DOCKER / "Dockerfile",
    TUTORIAL / "Dockerfile",
    TUTORIAL / "Dockerfile.several",
]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, what stands behind it), in order."""
    parser = DockerfileParser(fileobj=io.BytesIO(dockerfile.read_bytes()))
    structure: list[dict[str, Any]] = parser.structure
    return [(each["instruction"], each["value"]) for each in structure]


def values_of(dockerfile: Path, instruction: str) -> list[str]:
    return [value for name, value in instructions(dockerfile) if name == instruction]


def environment_of(dockerfile: Path) -> dict[str, str]:
    """What the ENV instructions of the last stage set."""
    found = instructions(dockerfile)
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    words = " ".join(value for name, value in found[last:] if name == "ENV").split()
    return dict(word.split("=", 1) for word in words)


class TestDockerfile:
    @pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
    def test_hadolint_and_shellcheck_find_nothing(self, dockerfile: Path) -> None:
        hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.defpath}")
        if hadolint is None:
            pytest.skip("hadolint is not installed")
        ended = subprocess.run(
            [hadolint, "--no-color", dockerfile], capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stdout) == (0, "")

    def test_it_has_the_conventions_of_the_reference(self) -> None:
        dockerfile = DOCKER / "Dockerfile"
        environment = environment_of(dockerfile)
        assert environment["MODEL_BASE_PATH"] == "/models"
        assert environment["MODEL_NAME"] == "model"
        assert values_of(dockerfile, "EXPOSE") == ["8500 8501 8080"]
        assert json.loads(values_of(dockerfile, "ENTRYPOINT")[0]) == [
            "/usr/bin/tf_serving_entrypoint.sh"
        ]
        linked = values_of(dockerfile, "RUN")[-1]
        assert "ln -s /opt/salver/bin/tensorflow_model_server /opt/salver/bin/salver /usr/bin/" in (
            linked
        )

    def test_it_copies_only_what_there_is_and_what_the_build_gets(self) -> None:
        ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        let_in = [line[1:] for line in ignored if line.startswith("!")]
        copied = [
            word
            for value in values_of(DOCKER / "Dockerfile", "COPY")
            if "--from" not in value
            for word in value.split()[:-1]
            if not word.startswith("--")
        ]
        assert copied
        for source in copied:
            assert (ROOT / source).exists()
            assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source

    def test_the_tutorials_image_answers_on_port_8080(self) -> None:
        assert values_of(TUTORIAL / "Dockerfile", "EXPOSE") == ["8080"]
        assert environment_of(TUTORIAL / "Dockerfile") == {
            "MODEL_BASE_PATH": "/app/models",
            "MODEL_NAME": "cats_vs_dogs",
        }


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory for the PATH of the entrypoint."""
    directory = tmp_path / "bin"
    directory.mkdir()
    return directory


def install(programs: Path, text: str, name: str = "tensorflow_model_server") -> None:
    """Put a program in the place of one of the commands."""
    program = programs / name
    program.write_text(text)
    program.chmod(0o755)


def with_path(programs: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{programs}:{os.defpath}", "PYTHONPATH": str(SOURCES), **more}


class TestEntrypoint:
    def arguments(self, programs: Path, *given: str, **environment: str) -> list[str]:
        """What the entrypoint starts the server with."""
        echo = '#!/bin/sh\nfor each in "$@"; do echo "$each"; done\n'
        install(programs, echo)
        install(programs, f"{echo}echo of salver\n", "salver")
        ended = subprocess.run(
            [ENTRYPOINT, *given],
            env=with_path(programs, **environment),
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.splitlines()

    def test_it_can_be_executed(self) -> None:
        assert os.access(ENTRYPOINT, os.X_OK)

    def test_the_environment_names_the_model(self, programs: Path) -> None:
        assert self.arguments(programs, MODEL_NAME="my model", MODEL_BASE_PATH="/app/models") == [
            "--port=8500",
            "--rest_api_port=8501",
            "--model_name=my model",
            "--model_base_path=/app/models/my model",
        ]

    def test_without_an_environment_it_is_the_images(self, programs: Path) -> None:
        assert self.arguments(programs)[2:] == [
            "--model_name=model",
            "--model_base_path=/models/model",
        ]

    def test_arguments_come_last_and_whole(self, programs: Path) -> None:
        given = ["--rest_api_port=8080", "--model_config_file", "/app/a file", "*"]
        assert self.arguments(programs, *given)[4:] == given

    def test_sagemaker_calls_it_by_one_word(self, programs: Path) -> None:
        assert self.arguments(programs, "serve", "--workers=2") == [
            *("serve", "--cloud_contract=sagemaker", "--workers=2", "of salver")
        ]

    def test_a_contract_is_for_the_command_that_finds_models(self, programs: Path) -> None:
        given = ["--workers=2", "--cloud_contract=vertex"]
        assert self.arguments(programs, *given) == ["serve", *given, "of salver"]
        variable = {"SALVER_FLAG_CLOUD_CONTRACT": "vertex"}
        assert self.arguments(programs, **variable) == ["serve", "of salver"]
        assert self.arguments(programs, "--cloud_contract=none")[-1] == "--cloud_contract=none"


@pytest.fixture
def container(
    programs: Path, tmp_path: Path, model_path: Callable[[str], Path]
) -> Iterator[Callable[..., Server]]:
    """Starts the entrypoint with the real server behind it, as a container would."""
    install(
        programs,
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'tensorflow_model_server'\n"
        "from salver.cli.model_server import main\nsys.exit(main())\n",
    )
    started: list[Server] = []

    def start(*arguments: str, **environment: str) -> Server:
        port, grpc_port = free_port(), free_port()
        process = subprocess.Popen(
            [ENTRYPOINT, "--host=127.0.0.1", f"--port={grpc_port}", f"--rest_api_port={port}",
             *arguments],
            env=with_path(programs, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        url = f"http://127.0.0.1:{port}"
        server = Server(process, url, port, grpc_port, Lines(process.stdout), Lines(process.stderr))
        started.append(server)
        server.err.wait_for("Exporting HTTP/REST API at:localhost:")
        return server

    yield start
    for server in started:
        server.dispose()


class TestServer:
    def test_it_takes_the_place_of_the_shell(
        self, container: Callable[..., Server], model_path: Callable[[str], Path]
    ) -> None:
        base = model_path("half_plus_two")
        server = container(MODEL_NAME=base.name, MODEL_BASE_PATH=str(base.parent))
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().split(b"\0")
        assert sys.executable.encode() in command[0]
        assert f"--model_name={base.name}".encode() in command
        assert server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}

    def test_sigterm_lets_it_finish_what_is_in_flight(
        self, container: Callable[..., Server], model_path: Callable[[str], Path]
    ) -> None:
        base = model_path("slow")
        server = container(MODEL_NAME="slow", MODEL_BASE_PATH=str(base.parent))
        assert server.predict("slow", [1.0]).ok
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                requests.post,
                f"{server.url}/v1/models/slow:predict",
                json={"instances": [1500.0]},
                timeout=PATIENCE_S,
            )
            before = _cpu_ticks(server.process.pid)
            ticks = 0.2 * os.sysconf("SC_CLK_TCK")
            eventually("the model runs", lambda: _cpu_ticks(server.process.pid) - before > ticks)
            server.process.send_signal(signal.SIGTERM)
            assert answer.result().json() == {"predictions": [1500.0]}
        assert server.wait(within_s=20) == 0

    def test_the_tutorials_configuration_of_several_models_is_served(
        self,
        container: Callable[..., Server],
        model_path: Callable[[str], Path],
        tmp_path: Path,
    ) -> None:
        app = tmp_path / "app"
        shutil.copytree(model_path("half_plus_two"), app / "models" / "cats_vs_dogs")
        shutil.copytree(model_path("half_plus_three"), app / "models" / "model_2")
        config = (TUTORIAL / "models.config").read_text().replace("/app", str(app))
        (app / "models.config").write_text(config)
        *_, flag = json.loads(values_of(TUTORIAL / "Dockerfile.several", "CMD")[0])
        server = container(flag.replace("/app", str(app)))
        assert server.predict("cats_vs_dogs", [2.0]).json() == {"predictions": [3.0]}
        assert server.predict("model_2", [2.0]).json() == {"predictions": [4.0]}


def _cpu_ticks(pid: int) -> int:
    """What CPU time a process took, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.fixture(scope="module")
def healthcheck() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthcheck", DOCKER / "healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestHealthcheck:
    @pytest.mark.parametrize(
        ("arguments", "port"),
        [
            ([], None),
            (["--port=8500"], None),
            (["--rest_api_port=8501"], "8501"),
            (["--rest_api_port=8501", "--rest_api_port=8080"], "8080"),
            (["--rest_api_port=8501", "--rest_api_port", "8080"], "8080"),
            (["-rest_api_port=8080"], "8080"),
            (["--rest_api_port"], ""),
        ],
    )
    def test_the_port_is_the_last_that_was_given(
        self, healthcheck: ModuleType, arguments: list[str], port: str | None
    ) -> None:
        assert healthcheck.value_of("rest_api_port", arguments) == port

    def test_a_server_with_an_available_model_is_healthy_on_whatever_port(
        self,
        healthcheck: ModuleType,
        container: Callable[..., Server],
        model_path: Callable[[str], Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        base = model_path("half_plus_two")
        server = container(MODEL_NAME=base.name, MODEL_BASE_PATH=str(base.parent))
        command_line = Path(f"/proc/{server.process.pid}/cmdline")
        assert healthcheck.main(command_line) == 0
        server.stop()
        assert not healthcheck.is_ready(server.port, is_tls=False)
        assert "refused" in capsys.readouterr().out

    def test_a_server_without_an_available_version_is_not(
        self,
        healthcheck: ModuleType,
        container: Callable[..., Server],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        server = container(
            "--open_ports_before_load", MODEL_NAME="absent", MODEL_BASE_PATH=str(tmp_path)
        )
        assert healthcheck.main(Path(f"/proc/{server.process.pid}/cmdline")) == 1
        assert '"unavailable"' in capsys.readouterr().out

    def test_a_server_with_tls_is_asked_with_tls(
        self,
        healthcheck: ModuleType,
        container: Callable[..., Server],
        model_path: Callable[[str], Path],
        tmp_path: Path,
    ) -> None:
        tls = tmp_path / "tls.config"
        tls.write_text(ssl_config(trustme.CA()))
        base = model_path("half_plus_two")
        server = container(
            f"--rest_ssl_config_file={tls}", MODEL_NAME=base.name, MODEL_BASE_PATH=str(base.parent)
        )
        assert healthcheck.main(Path(f"/proc/{server.process.pid}/cmdline")) == 0

    @pytest.mark.parametrize(
        ("arguments", "environment", "port"),
        [
            (["tensorflow_model_server"], {"SALVER_FLAG_REST_API_PORT": "1"}, 8501),
            (["salver", "serve", "--cloud_contract=sagemaker"], {}, 8080),
            (
                ["salver", "serve", "--cloud_contract=sagemaker"],
                {"SAGEMAKER_BIND_TO_PORT": "2"},
                2,
            ),
            (
                ["salver", "serve"],
                {"SALVER_FLAG_CLOUD_CONTRACT": "vertex", "AIP_HTTP_PORT": "3"},
                3,
            ),
            (["salver", "serve", "--cloud_contract=vertex", "--rest_api_port=4"], {}, 4),
            (["salver", "serve"], {"SALVER_FLAG_REST_API_PORT": "5"}, 5),
        ],
    )
    def test_the_port_may_be_a_clouds(
        self,
        healthcheck: ModuleType,
        arguments: list[str],
        environment: dict[str, str],
        port: int,
    ) -> None:
        assert healthcheck.port_of(arguments, environment) == port
