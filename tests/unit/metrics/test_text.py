import pytest
from prometheus_client.parser import text_string_to_metric_families

from salver.metrics.catalogue import BY_NAME, Kind, Metric
from salver.metrics.text import (
    Cell,
    Distribution,
    Family,
    exported_name,
    label_name,
    label_value,
    page,
)

COUNTER = Metric("/test/path/total", Kind.COUNTER, ("name",), "A counter.")
GAUGE = Metric("/test/path/gauge", Kind.GAUGE, ("x", "y"), "A gauge.")
POWERS = Metric("/test/path/histogram", Kind.HISTOGRAM, ("status",), "", (1.0, 2.0, 4.0))


def text_of(metric: Metric, *cells: Cell) -> str:
    return page([Family(metric, list(cells))]).decode()


@pytest.mark.parametrize(
    ("name", "exported"),
    [
        ("/tensorflow/serving/request_count", ":tensorflow:serving:request_count"),
        ("0/path-total_count", "_0:path:total_count"),
        ("salver_versions", "salver_versions"),
        ("/a.b c", ":a:b:c"),
    ],
)
def test_a_name_is_shown_in_the_letters_the_format_has(name: str, exported: str) -> None:
    assert exported_name(name) == exported


@pytest.mark.parametrize(
    ("name", "shown"), [("my-name+1", "my_name_1"), ("1st", "_1st"), ("API", "API"), ("a:b", "a_b")]
)
def test_a_label_is_shown_in_the_letters_the_format_has(name: str, shown: str) -> None:
    assert label_name(name) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [('"abc\\"', '\\"abc\\\\\\"'), ("plain", "plain"), ("two\nlines", "two\\nlines"), ("é", "é")],
)
def test_a_value_of_a_label_is_escaped(value: str, shown: str) -> None:
    assert label_value(value) == shown


def test_a_counter_is_a_line_of_its_labels_and_a_whole_number() -> None:
    assert text_of(COUNTER, (("abc",), 2)) == (
        '# TYPE :test:path:total counter\n:test:path:total{name="abc"} 2\n'
    )


def test_a_gauge_is_told_as_one() -> None:
    assert text_of(GAUGE, (("abc", "def"), 5)) == (
        '# TYPE :test:path:gauge gauge\n:test:path:gauge{x="abc",y="def"} 5\n'
    )


def test_braces_are_there_without_labels_too() -> None:
    bare = Metric("/bare", Kind.COUNTER, (), "")
    assert text_of(bare, ((), 7)) == "# TYPE :bare counter\n:bare{} 7\n"


def test_a_metric_without_cells_has_its_type() -> None:
    assert text_of(COUNTER) == "# TYPE :test:path:total counter\n"


def test_a_metric_that_is_silent_when_unused_has_not_even_that() -> None:
    name = "/tensorflow/serving/batching_session/padding_size"
    assert text_of(BY_NAME[name]) == ""
    assert text_of(BY_NAME[name], (("8",), Distribution([0] * 15, 0.0))) != ""


def test_the_buckets_of_a_histogram_add_up() -> None:
    assert text_of(POWERS, (("good",), Distribution([1, 0, 2, 3], 222.0))) == (
        "# TYPE :test:path:histogram histogram\n"
        ':test:path:histogram_bucket{status="good",le="1"} 1\n'
        ':test:path:histogram_bucket{status="good",le="2"} 1\n'
        ':test:path:histogram_bucket{status="good",le="4"} 3\n'
        ':test:path:histogram_bucket{status="good",le="+Inf"} 6\n'
        ':test:path:histogram_sum{status="good"} 222\n'
        ':test:path:histogram_count{status="good"} 6\n'
    )


def test_a_histogram_without_labels_has_only_the_bounds_in_braces() -> None:
    bare = Metric("/bare", Kind.HISTOGRAM, (), "", (1.0,))
    assert text_of(bare, ((), Distribution([0, 1], 3.5))).splitlines()[1:] == [
        ':bare_bucket{le="1"} 0',
        ':bare_bucket{le="+Inf"} 1',
        ":bare_sum{} 3.5",
        ":bare_count{} 1",
    ]


def test_the_references_sums_and_all_bounds_have_six_digits_and_our_sums_all() -> None:
    bounds = (0.1, 1274823.5)
    theirs = Metric("/theirs", Kind.HISTOGRAM, (), "", bounds)
    ours = Metric("salver_ours", Kind.HISTOGRAM, (), "", bounds)
    value = Distribution([0, 0, 1], 12345678.9)
    assert ':theirs_bucket{le="1.27482e+06"} 0\n' in text_of(theirs, ((), value))
    assert ":theirs_sum{} 1.23457e+07\n" in text_of(theirs, ((), value))
    assert "salver_ours_sum{} 12345678.9\n" in text_of(ours, ((), value))


def test_labels_with_percent_signs_and_nuls_come_through() -> None:
    text = text_of(POWERS, (("100%d\0,",), Distribution([0, 0, 0, 1], 9.0)))
    assert ':test:path:histogram_bucket{status="100%d\0,",le="+Inf"} 1\n' in text


def test_metrics_are_in_the_order_of_their_internal_names() -> None:
    names = ["salver_a", "/b/c", "/b-c", "/B"]
    families = [Family(Metric(name, Kind.COUNTER, (), "")) for name in names]
    shown = [line.split()[2] for line in page(families).decode().splitlines()]
    assert shown == [":B", ":b:c", ":b:c", "salver_a"]  # "-" comes before "/"


def test_the_page_ends_its_last_line_and_has_no_help() -> None:
    text = text_of(COUNTER, (("a",), 1), (("b",), 2))
    assert text.endswith(" 2\n")
    assert "\r" not in text
    assert "# HELP" not in text


def test_a_name_that_is_no_unicode_does_not_break_the_page() -> None:
    assert page([Family(COUNTER, [(("\udc80",), 1)])]).decode().endswith('{name="?"} 1\n')


def test_prometheus_reads_what_is_written() -> None:
    value = Distribution([1, 0, 2, 3], 222.0)
    families = [
        Family(POWERS, [(('a "quoted" \\ name\n',), value)]),
        Family(GAUGE, [(("", "é"), 1.5)]),
    ]
    read = {f.name: f for f in text_string_to_metric_families(page(families).decode())}
    assert read[":test:path:gauge"].samples[0].value == 1.5
    histogram = read[":test:path:histogram"]
    assert histogram.type == "histogram"
    assert histogram.samples[0].labels == {"status": 'a "quoted" \\ name\n', "le": "1"}


def test_whoever_writes_a_page_may_rest_after_each_cell() -> None:
    rests = list[int]()
    page([Family(COUNTER, [(("a",), 1), (("b",), 2)])], lambda: rests.append(1))
    assert len(rests) == 2
