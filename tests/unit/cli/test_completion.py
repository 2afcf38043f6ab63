import shutil
import subprocess
from pathlib import Path

import pytest

from salver.cli.commands import COMMANDS, Command
from salver.cli.completion import completion, flags_of
from salver.cli.salver import main
from salver.config.options import FLAGS

OWN_FLAGS = {"serve", "show", "completion"}


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert completion([shell]) == 0
    return capsys.readouterr().out


def run(shell: str, program: str, cwd: Path) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = [shell, "-f", "-c"] if shell == "zsh" else [shell, "-c"]
    done = subprocess.run(
        [*words, program], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_flags_of_each_command_are_known(command: Command) -> None:
    assert bool(flags_of(command)) is (command.name != "completion")


def test_serve_takes_every_flag_of_the_server() -> None:
    (serve,) = (command for command in COMMANDS if command.name == "serve")
    flags = flags_of(serve)
    assert {flag.rstrip("=") for flag in flags} >= {f"--{flag.name}" for flag in FLAGS}
    assert "--rest_api_port=" in flags
    assert "--verbose" in flags


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("salver sho", ["show"]),
        ("salver serve --rest_api_p", ["--rest_api_port="]),
        ("salver serve --verb", ["--verbose"]),
        ("salver serve dig", ["digits"]),
        ("salver bench --concur", ["--concurrency="]),
        ("salver warmup make --for", ["--force"]),
        ("salver warmup sh", ["show"]),
        ("salver config sch", ["schema"]),
        ("salver config convert --out", ["--output="]),
        ("salver config show --rest_api_p", ["--rest_api_port="]),
        ("salver config check dig", ["digits"]),
        ("tensorflow_model_server --model_base", ["--model_base_path="]),
        ("salver completion z", []),
    ],
)
def test_bash_completes(
    line: str, offered: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "digits").mkdir()
    words = line.split()
    program = (
        f"{script('bash', capsys)}\n"
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _salver; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert run("bash", program, tmp_path) == offered


@pytest.mark.parametrize(
    ("line", "offered", "not_offered"),
    [
        ("salver sho", "commands:", "--port="),
        ("salver serve --rest_api_p", "--rest_api_port=", "--concurrency="),
        ("salver bench --con", "--concurrency=", "--rest_api_port="),
        ("tensorflow_model_server --mo", "--model_base_path=", "--concurrency="),
        ("salver serve dig", "files", "--port="),
        ("salver config sch", "schema", "--port="),
        ("salver config check dig", "files", "schema"),
    ],
)
def test_zsh_completes(
    line: str,
    offered: str,
    not_offered: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The function is called as the shell would; what it calls is the shell's."""
    words = line.split()
    program = (
        'compdef() { :; }; compadd() { print -r -- "$@"; }; _files() { print files; }\n'
        "_describe() { print commands: ${(P)2}; }\n"
        f"{script('zsh', capsys)}\n"
        f"words=({line}); CURRENT={len(words)}; PREFIX={words[-1]}; _salver"
    )
    said = run("zsh", program, tmp_path)
    assert offered in said
    assert not_offered not in said


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("salver sho", "show"),
        ("salver serve --rest_api_p", "--rest_api_port"),
        ("salver bench --concur", "--concurrency"),
        ("tensorflow_model_server --model_base", "--model_base_path"),
    ],
)
def test_fish_completes(
    line: str, offered: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "salver.fish"
    file.write_text(script("fish", capsys))
    assert offered in run("fish", f"source {file}; complete -C '{line}'", tmp_path)


def test_help_says_where_the_script_goes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salver", "completion", "--help"]) == 0
    assert "~/.bashrc" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("tcsh",), ("bash", "zsh")])
def test_another_shell_is_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["salver", "completion", *arguments]) == 2
    assert capsys.readouterr().err == "salver: usage: salver completion bash|zsh|fish\n"
