import logging

import pytest

from salver.errors import InvalidArgument, Unimplemented
from salver.instruments.notices import NOTICE
from salver.oip.extensions import new_log_level, new_sampling, trace_settings
from salver.tracing.sampling import Sampling


@pytest.mark.parametrize(
    ("present", "settings", "level"),
    [
        (logging.INFO, {"log_verbose_level": 1}, logging.DEBUG),
        (logging.DEBUG, {"log_verbose_level": 0}, logging.INFO),
        (logging.INFO, {"log_info": False}, logging.WARNING),
        (logging.INFO, {"log_info": False, "log_warning": False}, logging.ERROR),
        (logging.ERROR, {"log_error": False}, logging.CRITICAL),
        (logging.ERROR, {"log_info": True}, logging.INFO),
        (logging.DEBUG, {"log_verbose_level": 7}, None),
        (NOTICE, {"log_warning": True, "log_format": "default", "log_file": ""}, None),
        (logging.INFO, {}, None),
    ],
)
def test_settings_mean_a_level(
    present: int,
    settings: dict[str, object],
    level: int | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(present, "salver")
    assert new_log_level(settings) == level


@pytest.mark.parametrize(
    "settings",
    [{"log_loudly": True}, {"log_info": 1}, {"log_verbose_level": True}, {"log_file": None}],
)
def test_what_is_no_setting_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        new_log_level(settings)


@pytest.mark.parametrize("settings", [{"log_file": "/etc/passwd"}, {"log_format": "ISO8601"}])
def test_what_only_a_flag_can_set_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(Unimplemented):
        new_log_level(settings)


def test_what_is_traced_is_told_as_triton_tells_it() -> None:
    assert trace_settings(None)["trace_level"] == ["OFF"]
    assert trace_settings(Sampling(0.0))["trace_level"] == ["OFF"]
    told = trace_settings(Sampling(0.01))
    assert (told["trace_level"], told["trace_rate"]) == (["TIMESTAMPS"], "100")
    assert told["trace_mode"] == "opentelemetry"


@pytest.mark.parametrize(
    ("present", "settings", "ratio"),
    [
        (0.5, {"trace_level": ["OFF"]}, 0.0),
        (0.5, {"trace_rate": ["10"]}, 0.1),
        (0.5, {"trace_level": ["OFF"], "trace_rate": ["10"]}, 0.0),
        (0.0, {"trace_level": ["TIMESTAMPS"]}, 0.25),  # as at the start
        (0.0, {"trace_level": ["TIMESTAMPS"], "trace_rate": ["2"]}, 0.5),
        (0.0, {"trace_rate": ["2"]}, 0.0),
        (0.5, {"trace_rate": []}, 0.25),
        (0.0, {"trace_level": []}, 0.25),
        (0.5, {"trace_count": ["-1"], "trace_file": []}, 0.5),
    ],
)
def test_trace_settings_mean_a_ratio(
    present: float, settings: dict[str, list[str]], ratio: float
) -> None:
    now = Sampling(present, follows_parent=False)
    changed = new_sampling(settings, now, Sampling(0.25, follows_parent=False))
    assert changed == Sampling(ratio, follows_parent=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"trace_rate": ["0"]}, {"trace_rate": ["often"]}, {"trace_rate": ["1", "2"]},
        {"trace_colour": ["blue"]}, {"trace_level": ["TENSORS"]},
        {"trace_level": ["OFF", "TIMESTAMPS"]}, {"trace_count": ["3"]},
        {"trace_file": ["/etc/passwd"]}, {"trace_mode": ["triton"]},
    ],
)  # fmt: skip
def test_trace_settings_that_make_no_sense_are_refused(settings: dict[str, list[str]]) -> None:
    with pytest.raises((InvalidArgument, Unimplemented)):
        new_sampling(settings, Sampling(0.5), Sampling(0.5))
