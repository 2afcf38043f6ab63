from typing import Any

import pytest

from salver.errors import NotFound
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.metrics.buckets import P14, SECONDS
from salver.metrics.merged import Report
from salver.metrics.text import Distribution
from salver.oip.statistics import model_statistics
from salver.vocabulary.servable import ServableId


class Serving:
    """Two versions of m that answer, and one that does not; n never came."""

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        del version
        if name != "m":
            raise NotFound(name)
        states = {3: VersionState.AVAILABLE, 2: VersionState.END, 1: VersionState.AVAILABLE}
        return [VersionStatus(ServableId("m", v), state) for v, state in states.items()]

    def model_names(self) -> list[str]:
        return ["m", "n"]


def seconds(count: int, total: float) -> Distribution:
    return Distribution([count, *[0] * len(SECONDS)], total)


def call(version: str, protocol: str = "tfs") -> tuple[str, ...]:
    return ("m", version, "serving_default", "predict", "REST", protocol)


COUNTED: Report = {
    "salver_request_seconds": [
        (call("1"), seconds(3, 0.9)),
        (call("1", "v2"), seconds(1, 0.1)),
        (call("2"), seconds(7, 7.0)),
    ],
    "salver_run_seconds": [(call("1"), seconds(3, 0.5)), (call("1", "v2"), seconds(1, 0.1))],
    "salver_failed_requests_total": [(("m", "1", "INTERNAL", "REST", "tfs"), 2)],
}


def told(report: Report, *which: Any) -> list[dict[str, Any]]:
    serving: Any = Serving()
    return model_statistics(serving, report, *which)


def test_requests_of_both_apis_count_for_the_versions_that_answer() -> None:
    first, third = told(COUNTED)
    assert (first["name"], first["version"], third["version"]) == ("m", "1", "3")
    assert (first["inference_count"], first["execution_count"]) == (4, 4)
    stats = first["inference_stats"]
    assert stats["success"] == {"count": 4, "ns": 1_000_000_000}
    assert stats["compute_infer"] == {"count": 4, "ns": 600_000_000}
    assert stats["compute_input"] == {"count": 4, "ns": 400_000_000}
    assert stats["fail"] == {"count": 2, "ns": 0}
    (batch,) = first["batch_stats"]
    assert (batch["batch_size"], batch["compute_infer"]) == (1, stats["compute_infer"])
    assert third["inference_count"] == 0
    assert third["batch_stats"] == []


def test_merged_requests_count_by_rows_and_batches() -> None:
    rows = Distribution([0, 2, 1, *[0] * (len(P14) - 2)], 8.0)
    queue = seconds(4, 0.2)
    batched = COUNTED | {
        "salver_batch_rows": [(("m", "1"), rows)],
        "salver_batch_queue_seconds": [(("m", "1"), queue)],
    }
    first = told(batched, "m", 1)[0]
    assert (first["inference_count"], first["execution_count"]) == (8, 3)
    stats = first["inference_stats"]
    assert stats["queue"] == {"count": 4, "ns": 200_000_000}
    assert stats["compute_infer"]["ns"] == 400_000_000
    assert [(b["batch_size"], b["compute_infer"]["count"]) for b in first["batch_stats"]] == [
        (int(P14[1]), 2),
        (int(P14[2]), 1),
    ]


@pytest.mark.parametrize("which", [("n",), ("m", 2), ("m", 9), ("x",)])
def test_what_does_not_answer_has_no_statistics(which: tuple[Any, ...]) -> None:
    with pytest.raises(NotFound, match="is not available"):
        told(COUNTED, *which)


def test_the_last_inference_is_told_in_milliseconds() -> None:
    moments: Report = {"salver_last_request_timestamp_seconds": [(("m", "1"), 1_700_000_000.25)]}
    first, third = told(moments)
    assert first["last_inference"] == 1_700_000_000_250
    assert third["last_inference"] == 0
