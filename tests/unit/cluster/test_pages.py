import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from salver.cluster.pages import page_of, page_server
from salver.errors import FailedPrecondition, Unavailable

PAGES = {
    "n1": '# TYPE hits counter\nhits{model="a"} 2\n',
    "n2": '# TYPE hits counter\nhits{model="a"} 3\n',
}


class Shop:
    def status(self) -> Mapping[str, Any]:
        return {"name": "<shop>", "nodes": []}

    def metrics_pages(self) -> Mapping[str, str]:
        return PAGES


class Away:
    def status(self) -> Mapping[str, Any]:
        raise Unavailable("The controller is away")

    metrics_pages = status


def lines(status: Mapping[str, Any]) -> list[str]:
    return [f"Cluster {status['name']}"]


def test_metrics_are_sums_or_have_their_node() -> None:
    assert 'hits{model="a"} 5' in page_of("/metrics", Shop(), lines).body
    assert 'hits{model="a",node="n2"} 3' in page_of("/metrics/nodes", Shop(), lines).body


def test_the_status_is_for_programs_and_for_people() -> None:
    assert json.loads(page_of("/status?x=1", Shop(), lines).body)["name"] == "<shop>"
    page = page_of("/", Shop(), lines)
    assert page.content_type.startswith("text/html")
    assert "Cluster &lt;shop&gt;" in page.body


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/metrics/nodes"])
def test_a_controller_that_is_away_is_said_to_be(path: str) -> None:
    assert page_of(path, Away(), lines).status == 503


def test_other_paths_are_told_what_there_is() -> None:
    page = page_of("/etc/passwd", Shop(), lines)
    assert (page.status, "/metrics" in page.body) == (404, True)


@pytest.fixture
def url() -> Iterator[str]:
    server = page_server("127.0.0.1", 0, Shop(), lines)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_pages_are_served_to_whoever_calls_the_server_by_its_name(url: str) -> None:
    assert httpx.get(f"{url}/status").json()["name"] == "<shop>"
    assert httpx.get(f"{url}/status", headers={"host": "evil.example:80"}).status_code == 403


def test_a_port_that_is_taken_is_told_of(url: str) -> None:
    with pytest.raises(FailedPrecondition, match="cannot be listened on"):
        page_server("127.0.0.1", int(url.rpartition(":")[2]), Shop(), lines)
