import pytest

from salver.cli.serve import SERVE_DEFAULTS
from salver.cli.serve_help import GROUPS, serve_help
from salver.config.options import FLAGS

NAMES = [name for _, names in GROUPS for name in names]


def test_each_flag_of_a_group_is_one_and_stands_once() -> None:
    assert set(NAMES) <= {flag.name for flag in FLAGS}
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_or_than_a_person_reads(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = serve_help("salver serve PATH", SERVE_DEFAULTS)
    of_flags = [line for line in text.splitlines() if line.startswith("        ")]
    assert max(map(len, of_flags)) <= max(40, min(columns, 100))
    assert f"lists {len(FLAGS) - len(NAMES)} more flags" in text


def test_the_defaults_are_those_of_the_command() -> None:
    text = serve_help("salver serve PATH", SERVE_DEFAULTS)
    for shown in ("--rest_api_port=8501", "--verbose=false", "--labels_file=\n"):
        assert shown in text
