import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.cluster import metrics_page
from salver.cluster.metrics_page import merged_page, per_node_page
from salver.metrics.catalogue import CATALOGUE, Kind, Metric
from salver.metrics.open_text import open_page
from salver.metrics.text import Distribution, Family
from salver.metrics.text import page as text_page

_ONE = """# HELP requests_total how many
# TYPE requests_total counter
requests_total{model="a"} 3
requests_total{model="b"} 1
# TYPE memory gauge
memory 10
# TYPE took histogram
took_bucket{model="a",le="1"} 1
took_bucket{model="a",le="2.5"} 2
took_bucket{model="a",le="+Inf"} 3
took_sum{model="a"} 7.5
took_count{model="a"} 3
"""
_TWO = """# TYPE requests_total counter
requests_total{model="a"} 4
# TYPE memory gauge
memory 5
# TYPE took histogram
took_bucket{le="1",model="a"} 10
took_bucket{le="2.5",model="a"} 20
took_bucket{le="+Inf",model="a"} 30
took_sum{model="a"} 0.5
took_count{model="a"} 30
"""


def test_adds_counters_gauges_and_histograms() -> None:
    page, wrong = merged_page({"n1": _ONE.encode(), "n2": _TWO.encode()})
    assert not wrong
    assert page == (
        "# TYPE memory gauge\n"
        "memory{} 15\n"
        "# HELP requests_total how many\n"
        "# TYPE requests_total counter\n"
        'requests_total{model="a"} 7\n'
        'requests_total{model="b"} 1\n'
        "# TYPE took histogram\n"
        'took_bucket{le="1",model="a"} 11\n'
        'took_bucket{le="2.5",model="a"} 22\n'
        'took_bucket{le="+Inf",model="a"} 33\n'
        'took_count{model="a"} 33\n'
        'took_sum{model="a"} 8\n'
    )


def test_gives_every_sample_the_name_of_its_node() -> None:
    page, wrong = per_node_page({"n1": _ONE, "n2": _TWO})
    assert not wrong
    assert 'requests_total{model="a",node="n1"} 3\n' in page
    assert 'requests_total{model="a",node="n2"} 4\n' in page
    assert 'took_bucket{le="+Inf",model="a",node="n2"} 30\n' in page
    assert page.count("# TYPE requests_total counter\n") == 1


def test_keeps_a_label_of_that_name_under_another() -> None:
    page, _ = per_node_page({"n1": 'a{node="x"} 1\n'})
    assert page == 'a{exported_node="x",node="n1"} 1\n'


def test_adds_only_the_buckets_that_all_nodes_have() -> None:
    other = _TWO.replace('le="2.5"', 'le="5"').replace('le="1"', 'le="1.0"')
    page, wrong = merged_page({"n1": _ONE, "n2": other})
    assert not wrong
    assert 'took_bucket{le="1",model="a"} 11\n' in page
    assert 'took_bucket{le="+Inf",model="a"} 33\n' in page
    assert "2.5" not in page
    assert 'le="5"' not in page


def test_reads_openmetrics_with_its_examples_and_its_end() -> None:
    text = (
        "# TYPE requests counter\n"
        'requests_total{model="a"} 3 # {trace_id="1"} 0.5 1700000000.000\n'
        "# TYPE up gauge\n"
        "up 1 1700000000\n"
        "# EOF\n"
        "what follows counts no more\n"
    )
    page, wrong = merged_page({"n1": text, "n2": text})
    assert not wrong
    assert page == (
        '# TYPE requests_total counter\nrequests_total{model="a"} 6\n# TYPE up gauge\nup{} 2\n'
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("last_load_seconds", 9), ("process_start_time_seconds", 5), ("hits_ratio", 9), ("bytes", 21)],
)
def test_adds_no_moments_durations_and_shares(name: str, value: int) -> None:
    pages = {f"n{each}": f"# TYPE {name} gauge\n{name} {each}\n" for each in (7, 5, 9)}
    assert merged_page(pages)[0].endswith(f"{name}{{}} {value}\n")


def test_keeps_values_of_labels_as_they_were_written() -> None:
    line = r'a{path="a\\b\"c\n,{}#= "} 1' + "\n"
    assert merged_page({"n1": line})[0] == line


def test_writes_what_is_no_number_or_without_bounds() -> None:
    page, _ = merged_page({"n1": "a +Inf\nb -Inf\nc NaN\nd 1e20\ne 0.25\n"})
    assert page == "a{} +Inf\nb{} -Inf\nc{} NaN\nd{} 1e+20\ne{} 0.25\n"


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"\xff 1\n", "the page is not UTF-8"),
        ("a\n", "line 1 is no sample"),
        ("ok 1\na 1_0\n", "line 2: '1_0' is no number"),
        ('a{b="1",b="2"} 1\n', "line 1: its labels cannot be read"),
        ("a{b=1} 1\n", "line 1: its labels cannot be read"),
        ("a 1\na 2\n", "line 2: a is there twice with these labels"),
        ("# TYPE a rubbish\n", "line 1: a is of no known type"),
        ("a 1\n# TYPE a counter\n", "line 2: the type of a comes late, or twice"),
        ("a" * 9000, "a line has more than 8192 characters"),
        ("a{" + ",".join(f'b{n}="1"' for n in range(33)) + "} 1", "line 1 has more than 32 labels"),
    ],
)
def test_leaves_out_a_page_that_is_none_and_says_why(page: bytes | str, why: str) -> None:
    merged, wrong = merged_page({"bad": page, "good": "x 1\n"})
    assert merged == "x{} 1\n"
    assert wrong == {"bad": why}


def test_takes_no_page_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_page, "MOST_BYTES", 100)
    monkeypatch.setattr(metrics_page, "_MOST_SAMPLES", 3)
    assert "larger than 100 bytes" in merged_page({"n": "a 1\n" * 26})[1]["n"]
    assert "more than 3 samples" in merged_page({"n": "a 1\nb 1\nc 1\nd 1\n"})[1]["n"]


def test_says_which_node_has_another_type_of_a_metric() -> None:
    page, wrong = merged_page({"n1": "# TYPE a counter\na 1\n", "n2": "# TYPE a gauge\na 5\n"})
    assert page == "# TYPE a counter\na{} 1\n"
    assert wrong == {"n2": "a is a gauge, and a counter elsewhere"}


@given(st.dictionaries(st.sampled_from(["n1", "n2"]), st.text() | st.binary(), max_size=2))
def test_survives_any_page(pages: dict[str, bytes | str]) -> None:
    page, wrong = merged_page(pages)
    assert not merged_page({"again": page})[1]
    per_node_page(pages)
    assert wrong.keys() <= pages.keys()


@given(st.text(alphabet='ab{}"\\,=# \n1+.eInfTYPE_le', max_size=80))
def test_survives_pages_that_are_nearly_ones(text: str) -> None:
    page, _ = merged_page({"n1": text, "n2": text})
    assert not merged_page({"again": page})[1]


def test_reads_what_servers_write() -> None:
    families = [
        Family(metric, [((*["x"] * len(metric.labels),), _value_of(metric))])
        for metric in CATALOGUE
    ]
    for text in (text_page(families), open_page(families)):
        page, wrong = merged_page({"n1": text, "n2": text})
        assert not wrong
        assert ":tensorflow:serving:request_count{" in page
        assert "salver_process_start_time_seconds{} 2\n" in page
        assert "salver_workers{} 4\n" in page
    many = merged_page({f"n{number}": text_page(families) for number in range(3)})[0]
    bounds = [
        line for line in many.splitlines() if line.startswith("salver_request_seconds_bucket")
    ]
    assert bounds[-1].endswith('le="+Inf"' + "} 6") or bounds[-1].split()[-1] == "6"


def _value_of(metric: Metric) -> int | Distribution:
    if metric.kind is not Kind.HISTOGRAM:
        return 2
    return Distribution([2, *[0] * len(metric.bounds)], 1.5)
