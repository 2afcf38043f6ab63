import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pytest

from salver.backends.keras.options import KerasOptions
from salver.backends.options import (
    OptionFlag,
    fill,
    flags_of,
    from_plain,
    option,
    own,
    pick,
    to_plain,
)
from salver.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    is_fast: bool = option(default=False, help="Go.")
    threads: int = option(2, "Many.")
    limit: int | None = option(None, "A limit.")
    share: float = option(0.5, "Half.")
    device: str = option("cpu", "Where.")
    modules: tuple[str, ...] = option(("a", "b"), "Which.")
    raw: bytes = option(b"", setting="session_config")
    pools: int = option(1, setting=("num_pools", "num_old_pools"))

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads must be positive; was {self.threads}")


def test_texts_become_values_of_the_fields_types() -> None:
    texts = {
        "is_fast": "true",
        "threads": "7",
        "limit": "9",
        "share": "0.25",
        "device": "gpu",
        "modules": "c, d,",
    }
    assert fill(Options, texts) == Options(
        is_fast=True, threads=7, limit=9, share=0.25, device="gpu", modules=("c", "d")
    )


def test_what_is_not_given_has_its_default_and_what_is_empty_none() -> None:
    assert fill(Options, {}) == Options()
    assert fill(Options, {"limit": ""}).limit is None


def test_values_of_other_types_are_taken_as_they_are() -> None:
    assert fill(Options, {"raw": b"\x01", "threads": 3}) == Options(raw=b"\x01", threads=3)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (
            {"thread": "1"},
            "There is no option thread of linear",
            "Perhaps threads is meant.",
        ),
        (
            {"zzz": "1"},
            "There is no option zzz of linear",
            "There are: is_fast, threads, limit, share, device, modules, raw, pools.",
        ),
        ({"threads": "x"}, "Option threads of linear is not a whole number: 'x'", None),
        ({"limit": "x"}, "Option limit of linear is not a whole number: 'x'", None),
        ({"share": "x"}, "Option share of linear is not a number: 'x'", None),
        ({"is_fast": "x"}, "Option is_fast of linear is not true or false: 'x'", None),
        ({"raw": "x"}, "Option raw of linear is not given by text: 'x'", None),
        (
            {"threads": "0"},
            "The options of linear are wrong: threads must be positive; was 0",
            None,
        ),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, str], message: str, hint: str | None) -> None:
    with pytest.raises(InvalidArgument) as caught:
        fill(Options, given, of="linear")
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_each_field_without_a_setting_is_a_flag() -> None:
    assert flags_of("linear", Options) == (
        OptionFlag("linear_is_fast", bool, False, "Go."),
        OptionFlag("linear_threads", int, 2, "Many."),
        OptionFlag("linear_limit", str, "", "A limit."),
        OptionFlag("linear_share", float, 0.5, "Half."),
        OptionFlag("linear_device", str, "cpu", "Where."),
        OptionFlag("linear_modules", str, "a,b", "Which."),
    )


def test_settings_fill_the_fields_they_are_for() -> None:
    settings = {"linear_threads": 4, "session_config": b"x", "threads": 9, "other_threads": 8}
    assert pick("linear", Options, settings) == {"threads": 4, "raw": b"x"}


@pytest.mark.parametrize(
    ("settings", "pools"),
    [
        ({"num_pools": 3}, 3),
        ({"num_old_pools": 3}, 3),
        ({"num_pools": 4, "num_old_pools": 3}, 4),
        ({"num_pools": 0, "num_old_pools": 3}, 3),
        ({"num_pools": 0, "num_old_pools": 0}, 0),
    ],
)
def test_of_several_settings_the_first_that_is_not_empty_counts(
    settings: dict[str, int], pools: int
) -> None:
    assert pick("linear", Options, settings) == {"pools": pools}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    threads: int = option(2, "Many.")
    rest: Mapping[str, str] = own("Whatever else is said.")


def test_a_field_may_take_what_no_other_is_called() -> None:
    made = fill(OpenOptions, {"threads": "3", "colour": "red", "size": "9"})
    assert made == OpenOptions(threads=3, rest={"colour": "red", "size": "9"})
    assert fill(OpenOptions, {}) == OpenOptions()
    assert [flag.name for flag in flags_of("open", OpenOptions)] == ["open_threads"]
    assert OpenOptions(**asdict(made)) == made  # as it is sent to other processes


def test_options_are_the_same_in_another_process() -> None:
    given = KerasOptions(
        custom_objects=("a", "b"), session_config=b"\x00\xff", load_thread_pool=3, timeout_s=1.5
    )
    plain = json.loads(json.dumps(to_plain(given)))
    assert from_plain(KerasOptions, plain) == given


def test_an_option_that_no_other_process_can_be_told_is_named() -> None:
    @dataclass
    class Odd:
        thing: object = option(None)

    with pytest.raises(InvalidArgument, match="Option thing is a object"):
        to_plain(Odd(thing=object()))
