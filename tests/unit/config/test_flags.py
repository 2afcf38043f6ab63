import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.config.flags import BadValue, nearest_flag, parse, usage
from salver.config.options import FLAGS, FlagType, ServerOptions

_RETRY = "load_retry_interval_micros"
_FRACTION = "per_process_gpu_memory_fraction"


def test_nothing_said_gives_the_defaults() -> None:
    parsed = parse([])
    assert parsed.options == ServerOptions()
    assert (parsed.set_names, parsed.leftovers, parsed.bad) == ((), (), ())


def test_defaults_can_be_others() -> None:
    base = ServerOptions(rest_api_port=8501)
    assert parse(["--port=1"], base).options == replace(base, port=1)


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--port=9000", "port", 9000),
        ("--port=+9000", "port", 9000),
        ("--port= \t9000", "port", 9000),
        ("--port=-1", "port", -1),
        ("--port=2147483647", "port", 2147483647),
        (f"--{_RETRY}=-9223372036854775808", _RETRY, -(2**63)),
        ("--model_name=", "model_name", ""),
        ("--model_name=a=b=c", "model_name", "a=b=c"),
        ("--enable_batching", "enable_batching", True),
        ("--enable_batching=TRUE", "enable_batching", True),
        ("--enable_batching=1", "enable_batching", True),
        ("--enable_model_warmup=False", "enable_model_warmup", False),
        ("--enable_model_warmup=0", "enable_model_warmup", False),
        (f"--{_FRACTION}=0.5", _FRACTION, 0.5),
        (f"--{_FRACTION}= .5e0", _FRACTION, 0.5),
        (f"--{_FRACTION}=1.", _FRACTION, 1.0),
        (f"--{_FRACTION}=-Infinity", _FRACTION, -math.inf),
        (f"--{_FRACTION}=0x1p-1", _FRACTION, 0.5),
    ],
)  # fmt: skip
def test_a_value_is_read(argument: str, name: str, value: object) -> None:
    parsed = parse([argument])
    assert getattr(parsed.options, name) == value
    assert parsed.set_names == (name,)
    assert not parsed.leftovers
    assert not parsed.bad


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--port=", "Couldn't interpret value  for flag port."),
        ("--port=80x", "Couldn't interpret value 80x for flag port."),
        ("--port=80 ", "Couldn't interpret value 80  for flag port."),
        ("--port=0x10", "Couldn't interpret value 0x10 for flag port."),
        ("--port=1_000", "Couldn't interpret value 1_000 for flag port."),
        ("--port=٣", "Couldn't interpret value ٣ for flag port."),
        ("--port=2147483648", "Couldn't interpret value 2147483648 for flag port."),
        (f"--port={'9' * 50}", f"Couldn't interpret value {'9' * 50} for flag port."),
        ("--enable_batching=", "Couldn't interpret value  for flag enable_batching."),
        ("--enable_batching=yes", "Couldn't interpret value yes for flag enable_batching."),
        (
            "--drain_timeout_seconds=1s",
            "Couldn't interpret value 1s for flag drain_timeout_seconds.",
        ),
        (
            "--drain_timeout_seconds=1_0",
            "Couldn't interpret value 1_0 for flag drain_timeout_seconds.",
        ),
        (
            "--drain_timeout_seconds=0x1p99999",
            "Couldn't interpret value 0x1p99999 for flag drain_timeout_seconds.",
        ),
    ],
)
def test_a_value_of_the_wrong_form_is_named(argument: str, text: str) -> None:
    parsed = parse([argument])
    assert [str(bad) for bad in parsed.bad] == [text]
    assert parsed.options == ServerOptions()


def test_every_bad_value_is_named_and_the_good_ones_are_kept() -> None:
    parsed = parse(["--port=x", "--rest_api_port=1", "--num_load_threads=y"])
    assert parsed.bad == (BadValue("port", "x"), BadValue("num_load_threads", "y"))
    assert parsed.options.rest_api_port == 1


def test_the_last_of_a_repeated_flag_counts() -> None:
    assert parse(["--port=1", "--port=2"]).options.port == 2


@pytest.mark.parametrize(
    "argument",
    [
        "--no_such_flag=1", "-port=1", "port=1", "--noenable_batching", "--port_more=1",
        "--versionx", "--", "", "-", "model",
    ],
)  # fmt: skip
def test_what_is_no_flag_is_left_over(argument: str) -> None:
    parsed = parse([argument])
    assert parsed.leftovers == (argument,)
    assert parsed.options == ServerOptions()


def test_a_flag_can_be_called_by_its_other_name() -> None:
    parsed = parse(
        ["--model_cache=/a", "--conversion_cache_max_bytes=1", "--model_cache_max_bytes=2"]
    )
    assert parsed.options.conversion_cache == "/a"
    assert parsed.options.conversion_cache_max_bytes == 2
    assert parsed.set_names == ("conversion_cache", "conversion_cache_max_bytes")


def test_two_dashes_end_the_flags_and_are_left_over_themselves() -> None:
    parsed = parse(["--port=1", "--", "--port=2", "x"])
    assert parsed.options.port == 1
    assert parsed.leftovers == ("--", "--port=2", "x")


def test_help_is_wanted_when_it_is_the_first_leftover() -> None:
    assert parse(["--port=1", "--help"]).wants_help
    assert not parse(["x", "--help"]).wants_help
    assert not parse([]).wants_help


def test_a_value_may_stand_behind_a_blank() -> None:
    parsed = parse(["--port", "-5", "--model_name", "m", "rest"])
    assert (parsed.options.port, parsed.options.model_name) == (-5, "m")
    assert parsed.leftovers == ("rest",)


def test_a_flag_whose_value_is_missing_is_left_over() -> None:
    parsed = parse(["--model_name", "--port=1", "--model_base_path"])
    assert parsed.leftovers == ("--model_name", "--model_base_path")
    assert parsed.options.port == 1


def test_a_bare_bool_takes_only_a_word_behind_it() -> None:
    assert not parse(["--enable_batching", "False"]).options.enable_batching
    parsed = parse(["--enable_batching", "1"])
    assert parsed.options.enable_batching
    assert parsed.leftovers == ("1",)


def test_set_flags_are_named_in_the_order_of_the_table() -> None:
    assert parse(["--version", "--host=::1", "--port=1"]).set_names == ("port", "version", "host")


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("--rest-api-port=1", "--rest_api_port"),
        ("--rest_api_prot", "--rest_api_port"),
        ("-model_name=x", "--model_name"),
        ("--zzz", None),
    ],
)
def test_a_misspelled_flag_is_guessed(argument: str, meant: str | None) -> None:
    assert nearest_flag(argument) == meant


def test_usage_has_the_form_of_the_reference() -> None:
    lines = usage("/bin/server").splitlines()
    assert lines[:2] == ["usage: /bin/server", "Flags:"]
    assert len(lines) == 2 + len(FLAGS)
    assert lines[2].startswith("\t--port=8500                      \tint32\tTCP port")
    assert '\t--model_name="default"           \tstring\t' in usage("x")
    assert "\t--enable_batching=false          \tbool\t" in usage("x")
    assert "\t--enable_profiler=true           \tbool\t" in usage("x")
    assert "\t--per_process_gpu_memory_fraction=0.000000\tfloat\t" in usage("x")
    assert "\t--load_retry_interval_micros=60000000\tint64\t" in usage("x")


def test_usage_shows_the_defaults_of_the_command() -> None:
    assert "--rest_api_port=8501" in usage("x", ServerOptions(rest_api_port=8501))


@given(st.lists(st.text(max_size=12) | st.sampled_from([f"--{flag.name}" for flag in FLAGS])))
def test_no_command_line_breaks_the_parser(arguments: list[str]) -> None:
    parsed = parse(arguments)
    assert set(parsed.leftovers) <= set(arguments)


@given(st.data())
def test_what_is_written_is_what_is_read(data: st.DataObject) -> None:
    flag = data.draw(st.sampled_from(FLAGS))
    texts = {
        FlagType.INT32: st.integers(-(2**31), 2**31 - 1).map(str),
        FlagType.INT64: st.integers(-(2**63), 2**63 - 1).map(str),
        FlagType.BOOL: st.sampled_from(["true", "false"]),
        FlagType.STRING: st.text(),
        FlagType.FLOAT: st.floats(allow_nan=False).map(repr),
    }
    text = data.draw(texts[flag.type])
    value = getattr(parse([f"--{flag.name}={text}"]).options, flag.name)
    assert (str(value).lower() if flag.type is FlagType.BOOL else str(value)) == text
