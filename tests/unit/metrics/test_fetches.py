from salver.metrics.fetches import FetchMetrics


def test_requests_and_fetches_are_counted_by_their_labels() -> None:
    metrics = FetchMetrics()
    metrics.requested("s3", "list", "ok")
    metrics.requested("s3", "list", "ok")
    metrics.requested("s3", "get", "503")
    metrics.fetched("m", 100, 2.0, True)
    metrics.fetched("m", 50, 1.0, False)
    cells = {family.metric.name: dict(family.cells) for family in metrics.families()}
    assert cells == {
        "salver_remote_requests_total": {("s3", "list", "ok"): 2, ("s3", "get", "503"): 1},
        "salver_fetched_bytes_total": {("m",): 150},
        "salver_fetch_seconds_total": {("m",): 3.0},
        "salver_model_cache_bytes": {},
    }


def test_what_the_cache_takes_is_told_where_there_is_something_in_it() -> None:
    fetches, size_bytes = FetchMetrics(), [7, 0]
    fetches.cache_bytes = lambda: size_bytes[0]
    assert [(family.metric.name, list(family.cells)) for family in fetches.families()][-1] == (
        "salver_model_cache_bytes",
        [((), 7)],
    )
    size_bytes.pop(0)
    assert not list(fetches.families()[-1].cells)
