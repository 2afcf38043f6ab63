from pathlib import Path

import pytest

from salver.config.options import FLAGS, Flag, FlagType

_DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"
_HEAD = "| flag | type | default | state | meaning |"


def _row(flag: Flag) -> str:
    """The row that documents a flag; paste it into the table when a flag changes."""
    shown = f'"{flag.default}"' if flag.type is FlagType.STRING else str(flag.default).lower()
    default = flag.default_text or f"`{shown}`"
    meaning = flag.help + (f" *{flag.note[0].upper()}{flag.note[1:]}.*" if flag.note else "")
    return f"| `{flag.name}` | {flag.type.value} | {default} | {flag.state.value} | {meaning} |"


def _documented() -> dict[str, str]:
    lines = iter(_DOCUMENT.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line == _HEAD:
            next(lines)
            break
    rows = {}
    for line in lines:
        if not line.startswith("| `"):
            break
        rows[line.split("`")[1]] = line
    return rows


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_is_documented_as_the_table_has_it(flag: Flag) -> None:
    assert _documented().get(flag.name) == _row(flag)


def test_no_other_flag_is_documented_and_the_order_is_the_same() -> None:
    assert list(_documented()) == [flag.name for flag in FLAGS]
