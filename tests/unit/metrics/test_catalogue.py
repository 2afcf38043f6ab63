import re

from salver.metrics.catalogue import BY_NAME, CATALOGUE, Kind


def test_each_name_is_there_once() -> None:
    assert len(BY_NAME) == len(CATALOGUE)


def test_histograms_and_only_they_have_bounds_that_rise() -> None:
    for metric in CATALOGUE:
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM), metric.name
        assert list(metric.bounds) == sorted(set(metric.bounds)), metric.name


def test_every_meaning_is_a_sentence() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"[A-Z].*[.]", metric.meaning), metric.name


def test_what_is_not_ours_is_the_references_or_tensorflows() -> None:
    for metric in CATALOGUE:
        assert metric.is_ours or metric.name.startswith(("/tensorflow/serving/", "/tensorflow/c"))


def test_our_names_say_what_prometheus_wants_them_to_say() -> None:
    for metric in CATALOGUE:
        if metric.is_ours:
            assert re.fullmatch("[a-z_]+", metric.name)
            is_total = metric.name.endswith("_total")
            assert is_total == (metric.kind is Kind.COUNTER), metric.name
            assert not re.search("micros|millis|_ms|_us", metric.name)


def test_sizes_of_batches_stay_unsaid_until_there_is_one_as_in_the_reference() -> None:
    silent = {
        metric.name for metric in CATALOGUE if metric.is_silent_when_unused and not metric.is_ours
    }
    prefix = "/tensorflow/serving/batching_session/"
    names = ("padding_size", "input_batch_size", "processed_batch_size")
    assert silent == {prefix + name for name in names}
