import pytest

from salver.cli.commands import COMMANDS, Command, nearest_command


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_row_leads_to_a_function(command: Command) -> None:
    assert callable(command.load())


def test_names_are_there_once() -> None:
    names = [command.name for command in COMMANDS]
    assert len(names) == len(set(names))


def test_calling_a_row_runs_its_function(capsys: pytest.CaptureFixture[str]) -> None:
    (show,) = (command for command in COMMANDS if command.name == "show")
    assert show(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: salver show PATH")


@pytest.mark.parametrize(
    ("word", "meant"), [("serve", "serve"), ("srve", "serve"), ("BENCH", "bench"), ("xyz", None)]
)
def test_a_mistyped_command_is_recognized(word: str, meant: str | None) -> None:
    assert nearest_command(word) == meant
