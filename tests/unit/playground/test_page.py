import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.shelf import response_of

from salver.playground.page import About, Playground
from salver.transport.messages import HttpRequest, HttpResponse


async def at_once(call: Callable[[], Any]) -> Any:
    return call()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    labels = tmp_path / "models" / "1" / "assets" / "labels.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("cat\n<img src=x onerror=alert(1)>\n")
    return tmp_path / "models"


def playground(base: Path, **labels_files: str) -> Playground:
    return Playground(
        About(version="1.2.3", grpc_port=8500, metrics_path="/metrics"),
        labels_files=labels_files,
        base_path_of={"m": str(base), "n": str(base)}.get,
        in_thread=at_once,
    )


async def ask(page: Playground, target: str, method: str = "GET") -> HttpResponse:
    answer = page(HttpRequest(method, target))
    assert answer is not None
    return await response_of(answer)


@pytest.mark.parametrize("target", ["/", "/?x=1", "/#/model/m"])
async def test_the_page_is_at_the_root(base: Path, target: str) -> None:
    response = await ask(playground(base), target)
    assert response.status == 200
    assert response.content_type == "text/html; charset=utf-8"
    assert b"<title>Salver</title>" in response.body


async def test_its_files_are_beside_it(base: Path) -> None:
    response = await ask(playground(base), "/playground/css/base.css")
    assert response.content_type == "text/css; charset=utf-8"
    assert (await ask(playground(base), "/playground/css/base.css", "HEAD")).status == 200


async def test_its_icon_is_where_browsers_look_for_it(base: Path) -> None:
    assert (await ask(playground(base), "/favicon.ico")).content_type == "image/svg+xml"


async def test_its_name_leads_to_the_root(base: Path) -> None:
    response = await ask(playground(base), "/playground")
    assert (response.status, dict(response.headers)["Location"]) == (308, "/")


async def test_it_is_told_what_it_cannot_see(base: Path) -> None:
    response = await ask(playground(base), "/playground/about")
    assert json.loads(response.body) == {
        "version": "1.2.3", "grpc_port": 8500, "metrics_path": "/metrics",
    }  # fmt: skip
    assert dict(response.headers)["Cache-Control"] == "no-store"


async def test_labels_are_those_of_the_versions_assets(base: Path) -> None:
    response = await ask(playground(base), "/playground/labels?model=m&version=1")
    assert json.loads(response.body) == {"labels": ["cat", "<img src=x onerror=alert(1)>"]}
    assert response.content_type == "application/json"
    assert dict(response.headers)["X-Content-Type-Options"] == "nosniff"


async def test_a_version_without_labels_has_none(base: Path) -> None:
    response = await ask(playground(base), "/playground/labels?model=m&version=2")
    assert json.loads(response.body) == {"labels": None}


async def test_a_labels_file_that_cannot_be_used_is_told_of(base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[")
    page = playground(base, m=str(broken), n=str(tmp_path / "gone.txt"))
    response = await ask(page, "/playground/labels?model=m&version=1")
    assert json.loads(response.body)["error"].startswith("broken.json is no list of labels: ")
    response = await ask(page, "/playground/labels?model=n&version=1")
    assert json.loads(response.body) == {
        "labels": None, "error": "The labels cannot be read: No such file or directory",
    }  # fmt: skip


@pytest.mark.parametrize(
    "query",
    ["", "model=m", "model=unknown&version=1", "model=m&version=..", "model=m&version=-1",
     "model=m&version=9223372036854775808", "model=m&version=%C2%B2"],
)  # fmt: skip
async def test_labels_of_no_version_are_not_found(base: Path, query: str) -> None:
    assert (await ask(playground(base), f"/playground/labels?{query}")).status == 404


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/"), ("PUT", "/playground/about"), ("GET", "/other"), ("GET", "/playgrounds"),
        ("GET", "/playground/nothing.js"), ("GET", "/playground/%2e%2e/page.py"), ("GET", ""),
    ],
)  # fmt: skip
def test_what_is_not_its_own_is_left_to_others(base: Path, method: str, target: str) -> None:
    assert playground(base)(HttpRequest(method, target)) is None
