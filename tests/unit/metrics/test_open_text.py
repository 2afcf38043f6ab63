import re
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from salver.metrics.catalogue import BY_NAME, CATALOGUE, Kind
from salver.metrics.open_text import open_page
from salver.metrics.text import Distribution, Exemplar, Family, page


def families_in(text: str) -> list[Any]:
    """The families of a page, as a client of OpenMetrics reads it."""
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def whole() -> list[Family]:
    """A cell of each metric there is."""
    families = []
    for metric in CATALOGUE:
        labels = tuple(f'of "{name}"\n' for name in metric.labels)
        value: Any = 3
        if metric.kind is Kind.HISTOGRAM:
            value = Distribution([1] * (len(metric.bounds) + 1), 2.5)
        families.append(Family(metric, [(labels, value)]))
    return families


def names(page: bytes) -> list[str]:
    return [re.split("[{ ]", line)[0] for line in page.decode().splitlines() if line[0] != "#"]


def test_both_forms_have_the_same_samples_under_the_same_names() -> None:
    opened = open_page(whole())
    assert names(opened) == names(page(whole()))
    read = families_in(opened.decode())
    assert sum(len(family.samples) for family in read) == len(names(opened))
    labels = {value for family in read for s in family.samples for value in s.labels.values()}
    assert 'of "model_name"\n' in labels


def test_nothing_counted_is_a_page_too() -> None:
    assert open_page([]) == b"# EOF\n"
    assert open_page([Family(CATALOGUE[0])]) == b"# EOF\n"


def test_a_bucket_has_an_example() -> None:
    metric = BY_NAME["salver_request_seconds"]
    counts = [0, 2, *[0] * (len(metric.bounds) - 1)]
    exemplars = ((1, Exemplar(0xAB, 2e-5, 1234.5)),)
    labels = tuple("x" for _ in metric.labels)
    family = Family(metric, [(labels, Distribution(counts, 4e-5, exemplars))])
    (read,) = families_in(open_page([family]).decode())
    (found,) = [sample for sample in read.samples if sample.exemplar is not None]
    assert found.exemplar.labels == {"trace_id": f"{0xAB:032x}"}
    assert found.exemplar.value == 2e-5
    assert float(found.exemplar.timestamp) == 1234.5
    assert found.labels["le"] == format(metric.bounds[1], "g")


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_is_told(kind: Kind) -> None:
    families = [family for family in whole() if family.metric.kind is kind]
    types = {family.type for family in families_in(open_page(families).decode())}
    assert types <= {kind.value, "unknown"}
    assert kind.value in types
