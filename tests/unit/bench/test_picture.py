import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from tests.unit.bench.test_results import tally

from salver.bench.latencies import Latencies
from salver.bench.loops import Failure, Tally
from salver.bench.picture import picture
from salver.bench.results import Level, Measured, Report

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*tallies: Tally, name: str = "a") -> tuple[list[str], list[str]]:
    """Texts, and the paths of the curves behind those of the legend."""
    measured = [Measured(f"{name}{at}", Level(1), [one]) for at, one in enumerate(tallies)]
    report = Report({one.target: "x" for one in measured}, [measured])
    tree = ET.fromstring(picture(report, "a <model> & more"))
    curves = [
        path.get("d") or ""
        for path in tree.iter(f"{SVG}path")
        if "curve" in (path.get("class") or "")
    ]
    return [text.text or "" for text in tree.iter(f"{SVG}text")], curves[len(tallies) :]


def points(path: str) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    return np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", path), np.float64)


def test_curves_rise_from_the_median_to_the_tail() -> None:
    latencies = Latencies(np.random.default_rng(0).lognormal(-6, 1, 2000).tolist())
    texts, (histogram, percentiles) = drawn(Tally(latencies, answered=2000, seconds=2))
    assert texts[0] == "a <model> & more"
    assert texts[1].startswith("1 client: 1,000 requests/s, p50 2.")
    assert {"0", "90", "99", "99.9", "99.99"} <= set(texts)
    curve = points(percentiles)
    assert (np.diff(curve[:, 0]) > 0).all()
    assert (np.diff(curve[:, 1]) <= 0).all()  # up is less
    assert len(curve) < 161  # of 2,000 answers none is the 99.99th percentile
    heights = [float(y) for y in re.findall(r"V([\d.]+)h", histogram)]
    assert len(heights) == 60
    assert min(heights) == max(heights) - 300  # the highest bar is as high as the panel


def test_the_bars_of_each_add_up_to_all_answers() -> None:
    _, curves = drawn(tally(1, 0.01, 3), tally(1, 0.02, 9, failures={"503": Failure(1, "")}))
    for path in curves[:2]:
        heights = np.array([float(y) for y in re.findall(r"V([\d.]+)h", path)])
        assert sum(heights.max() - heights) == pytest.approx(300)  # one bar as high as the panel


def test_servers_are_named_where_there_are_several_and_failures_counted() -> None:
    texts, _ = drawn(
        tally(1, 0.01, 3), tally(1, 0.02, 9, failures={"503": Failure(1, "")}), name="s"
    )
    assert texts[1].startswith("s0, 1 client: 3 requests/s, p50 10.0 ms")
    assert texts[2].endswith(", 1 failed")
    assert "20 ms" in texts


def test_a_curve_goes_to_the_last_percentile_that_there_is() -> None:
    texts, (_, percentiles) = drawn(tally(1, 0.01, 100))
    assert "99" in texts
    assert "99.9" not in texts
    assert points(percentiles)[-1, 0] == 930  # the right edge


def test_without_answers_there_is_no_curve() -> None:
    texts, curves = drawn(Tally(seconds=1.0))
    assert "no answers" in texts
    assert curves == []


def test_axes_take_any_latency() -> None:
    for seconds in (1e-9, 3e-6, 20000.0):
        texts, curves = drawn(tally(1, seconds, 3))
        assert len(curves) == 2
        assert "nan" not in "".join(curves)
        assert "0" in texts
