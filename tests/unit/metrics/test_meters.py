import threading

from salver.metrics.meters import MeterKey, Meters

KEY = MeterKey("m", 1, "serving_default", "predict", "REST")
REST_OF_IT = MeterKey("m", None, "", "predict", "REST")


def counts_of(meters: Meters, key: MeterKey) -> tuple[int, int]:
    """How many requests and runs a key has."""
    readings = meters.read()
    if key not in readings.keys:
        return 0, 0
    whole, runs = readings.counts[readings.keys.index(key)].sum(axis=1).tolist()
    return whole, runs


def test_a_success_is_in_both_histograms_and_both_sums() -> None:
    meters = Meters()
    meters.meter(KEY).succeeded(0.0, 20e-6, 4e-6)
    readings = meters.read()
    assert readings.keys == (KEY,)
    assert readings.counts[0, 0].tolist()[:4] == [0, 0, 1, 0]  # 18 to 32.4 µs
    assert readings.counts[0, 1].tolist()[:2] == [1, 0]  # below 10 µs
    assert readings.micros.round(6).tolist() == [[20.0, 4.0]]


def test_a_value_that_equals_a_bound_is_counted_above_it() -> None:
    meters = Meters()
    meters.meter(KEY).succeeded(0.0, 10.0, 1e9)  # 1e7 µs is no bound; 1e15 is past the last
    (whole, runs) = meters.read().counts[0].tolist()
    assert runs[-1] == 1
    assert sum(whole) == 1
    exact = Meters()
    exact.meter(KEY).succeeded(0.0, 18e-6, 18e-6)  # times a million: 18.0 exactly
    assert exact.read().counts[0, 0].tolist()[:3] == [0, 0, 1]


def test_a_key_has_one_meter() -> None:
    meters = Meters()
    assert meters.meter(KEY) is meters.meter(KEY)


def test_nothing_is_lost_when_the_list_is_full() -> None:
    meters = Meters()
    first, second = meters.meter(KEY), meters.meter(MeterKey("n", 2, "", "predict", "GRPC"))
    for _ in range(1500):
        first.succeeded(0.0, 1e-3, 1e-3)
        second.succeeded(0.0, 1e-3, 1e-3)
    assert len(meters._pending) < 4 * 1024
    assert meters.read().counts.sum(axis=2).tolist() == [[1500, 1500], [1500, 1500]]


def test_readings_do_not_change_any_more() -> None:
    meters = Meters()
    meter = meters.meter(KEY)
    meter.succeeded(0.0, 1e-3, 1e-3)
    before = meters.read()
    meter.succeeded(0.0, 1e-3, 1e-3)
    meters.read()
    assert before.counts.sum() == 2


def test_there_may_be_any_number_of_keys() -> None:
    meters = Meters()
    for version in range(300):
        meter = meters.meter(MeterKey("m", version, "", "predict", "REST"))
        for _ in range(version % 3):
            meter.succeeded(0.0, 1e-3, 1e-3)
    readings = meters.read()
    assert [key.version for key in readings.keys if key] == list(range(300))
    assert readings.counts[:, 0].sum(axis=1).tolist() == [v % 3 for v in range(300)]


def test_what_a_forgotten_version_counted_stays_in_the_rest() -> None:
    meters = Meters()
    other = MeterKey("m", 1, "other", "predict", "REST")
    for key in (KEY, other):
        meters.meter(key).succeeded(0.0, 1e-3, 1e-4)
    meters.forget("m", 1)
    assert counts_of(meters, KEY) == (0, 0)
    assert counts_of(meters, REST_OF_IT) == (2, 2)
    assert meters.read().micros.sum(axis=0).round(3).tolist() == [2000.0, 200.0]


def test_a_request_that_outlives_its_version_counts_for_the_rest() -> None:
    meters = Meters()
    meter = meters.meter(KEY)
    meter.succeeded(0.0, 1e-3, 1e-4)
    meters.forget("m", 1)
    meter.succeeded(0.0, 1e-3, 1e-4)
    assert counts_of(meters, REST_OF_IT) == (2, 2)


def test_what_was_pending_when_a_version_was_forgotten_does_not_go_to_its_successor() -> None:
    meters = Meters()
    meters.meter(KEY).succeeded(0.0, 1e-3, 1e-4)
    meters.forget("m", 1)
    next_key = MeterKey("m", 2, "serving_default", "predict", "REST")
    meters.meter(next_key)
    assert counts_of(meters, next_key) == (0, 0)
    assert counts_of(meters, REST_OF_IT) == (1, 1)


def test_a_version_that_comes_back_begins_anew() -> None:
    meters = Meters()
    meters.meter(KEY).succeeded(0.0, 1e-3, 1e-4)
    meters.forget("m", 1)
    again = meters.meter(KEY)
    again.succeeded(0.0, 1e-3, 1e-4)
    assert counts_of(meters, KEY) == (1, 1)
    assert counts_of(meters, REST_OF_IT) == (1, 1)


def test_versions_that_come_and_go_take_no_more_and_no_more_memory() -> None:
    meters = Meters()
    for version in range(500):
        meters.meter(MeterKey("m", version, "", "predict", "REST")).succeeded(0.0, 1e-3, 1e-4)
        meters.forget("m", version)
        meters.sort_pending()
    assert len(meters.read().keys) == 2
    assert counts_of(meters, REST_OF_IT) == (500, 500)


def test_other_models_and_versions_are_not_forgotten() -> None:
    meters = Meters()
    others = [MeterKey("n", 1, "", "predict", "REST"), MeterKey("m", 2, "", "predict", "REST")]
    for key in others:
        meters.meter(key).succeeded(0.0, 1e-3, 1e-4)
    meters.forget("m", 1)
    assert [counts_of(meters, key) for key in others] == [(1, 1), (1, 1)]


def test_runs_that_are_no_batches_are_graph_runs() -> None:
    meters = Meters()
    meters.meter(KEY).succeeded(0.0, 1.0, 1.5e-3)
    meters.meter(MeterKey("b", 1, "", "predict", "REST", is_batched=True)).succeeded(0.0, 1.0, 0.5)
    readings = meters.read()
    assert readings.graph_counts.tolist()[:3] == [0, 1, 0]
    assert readings.graph_counts.sum() == 1
    assert round(readings.graph_micros) == 1500


def test_meters_made_and_forgotten_in_other_threads_disturb_no_count() -> None:
    meters = Meters()
    stop = threading.Event()

    def churn() -> None:
        version = 100
        while not stop.is_set():
            meters.meter(MeterKey("m", version, "", "predict", "REST"))
            meters.forget("m", version)
            version += 1

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    meter = meters.meter(KEY)
    for _ in range(20_000):
        meter.succeeded(0.0, 1e-3, 1e-4)
    stop.set()
    for thread in threads:
        thread.join()
    assert counts_of(meters, KEY) == (20_000, 20_000)
    assert meters.read().counts.sum() == 40_000


def test_the_last_traced_answer_of_a_bucket_is_its_example() -> None:
    now = iter([1.0, 2.0, 3.0, 4.0])
    meters = Meters(lambda: next(now))
    meter = meters.meter(MeterKey("m", 1, "s", "predict", "REST"))
    for trace_id, total_s in ((1, 0.001), (2, 0.00101), (3, 5.0)):
        meter.exemplify(trace_id, total_s, 1e-7)
    found = meters.read().exemplars
    assert sorted(each.trace_id for (_, which, _), each in found.items() if which == 0) == [2, 3]
    assert [each.trace_id for (_, which, _), each in found.items() if which == 1] == [3]


def test_the_examples_of_a_version_go_with_it() -> None:
    meters = Meters()
    meter = meters.meter(MeterKey("m", 1, "s", "predict", "REST"))
    meter.exemplify(1, 0.001, 0.001)
    meters.forget("m", 1)
    assert meters.read().exemplars == {}
    meter.exemplify(2, 0.001, 0.001)  # it counts for the rest from here on
    assert {row for row, _, _ in meters.read().exemplars} != {0}


def test_the_moment_of_the_last_request_is_told_whenever_it_is_asked_for() -> None:
    now = {"epoch": 1_700_000_000.0, "perf": 50.0}
    meters = Meters(lambda: now["epoch"], perf_counter=lambda: now["perf"])
    meter, silent = meters.meter(KEY), MeterKey("silent", 1, "", "predict", "REST")
    meters.meter(silent)
    for ended_s in (47.0, 48.0, 49.0):
        meter.succeeded(ended_s - 1.0, ended_s, 0.5)
    for _ in range(2):
        readings = meters.read()
        last_s = dict(zip(readings.keys, readings.last_s.tolist(), strict=True))
        assert last_s == {KEY: 1_699_999_999.0, silent: 0.0}
        now["epoch"] += 3600.0
        now["perf"] += 3600.0
    meters.forget(KEY.model, KEY.version or 0)
    meters.read()
    again = MeterKey("again", 1, "", "predict", "REST")
    meters.meter(again)
    readings = meters.read()
    assert readings.last_s[readings.keys.index(again)] == 0.0
