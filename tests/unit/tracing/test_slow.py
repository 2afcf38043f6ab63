from salver.tracing.request import Batch, RequestTrace
from salver.tracing.slow import MOST_KEPT, SlowRequests, newest
from salver.vocabulary.servable import ServableId


def slow(seconds: float = 1.0) -> RequestTrace:
    trace = RequestTrace()
    trace.begun_s, trace.ended_s = 1.0, 1.0 + seconds
    trace.ran = (ServableId("m", 7), 1.0, 1.25, 0.0)
    trace.taken_s, trace.outputs_s = 1.5, 1.75
    trace.protocol, trace.method, trace.status = "REST", "POST", 200
    trace.target = "/v1/models/m:predict"
    return trace


def test_one_is_told_with_its_stages() -> None:
    kept = SlowRequests()
    trace = slow()
    trace.batches = (Batch(1.5, 2, 3, 4),)
    trace.trace_id = 10
    kept.put(0.5, trace)
    assert kept.told() == [
        {
            "time": "1970-01-01T00:00:00.500Z",
            "protocol": "REST",
            "method": "POST",
            "target": "/v1/models/m:predict",
            "status": 200,
            "seconds": 1.0,
            "model": "m",
            "version": 7,
            "stages": [
                {"name": "read", "seconds": 0.25},
                {"name": "queue", "seconds": 0.25},
                {"name": "run", "seconds": 0.25},
                {"name": "write", "seconds": 0.25},
            ],
            "batches": [{"tasks": 2, "rows": 3, "execution_rows": 4}],
            "trace_id": f"{10:032x}",
        }
    ]


def test_the_last_ones_are_kept_the_newest_first() -> None:
    kept = SlowRequests()
    for second in range(MOST_KEPT + 20):
        kept.put(second, slow())
    times = [each["time"] for each in kept.told()]
    assert len(times) == MOST_KEPT
    assert times[0] == "1970-01-01T00:01:59.000Z"
    assert times == sorted(times, reverse=True)


def test_a_target_that_is_long_is_cut() -> None:
    kept = SlowRequests()
    trace = slow()
    trace.target = "/" + "x" * 5000
    kept.put(0, trace)
    assert len(kept.told()[0]["target"]) == 200


def test_no_key_in_the_path_is_told() -> None:
    kept = SlowRequests()
    trace = slow()
    trace.ran, trace.named = None, f"salver_shop_{'x' * 32}"
    trace.target = f"/v1/models/{trace.named}:predict"
    kept.put(0, trace)
    (told,) = kept.told()
    assert (told["target"], told["model"]) == ("/v1/models/salver_shop_…:predict", "salver_shop_…")


def test_those_of_several_processes_are_told_together() -> None:
    first, second = SlowRequests(), SlowRequests()
    for moment in range(0, 200, 2):
        first.put(moment, slow())
        second.put(moment + 1, slow())
    told = newest([first.told(), second.told()])
    assert len(told) == MOST_KEPT
    assert [each["time"][17:19] for each in told[:3]] == ["19", "18", "17"]
