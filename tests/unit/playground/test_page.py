import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.routers import answer_of
from tests.shelf import response_of

from salver.errors import Unavailable
from salver.playground.page import About, Playground
from salver.transport.messages import HttpResponse


async def at_once(call: Callable[[], Any]) -> Any:
    return call()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    labels = tmp_path / "models" / "1" / "assets" / "labels.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("cat\n<img src=x onerror=alert(1)>\n")
    return tmp_path / "models"


def playground(base: Path, *, draw_history: Any = None, **labels_files: str) -> Playground:
    return Playground(
        About(version="1.2.3", grpc_port=8500, metrics_path="/metrics"),
        labels_files=labels_files,
        base_path_of=lambda name, _version: str(base) if name in ("m", "n") else None,
        in_thread=at_once,
        draw_history=draw_history,
    )


async def ask(page: Playground, target: str, method: str = "GET") -> HttpResponse:
    answer = answer_of(page.routes(), method, target)
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
        "has_open_inference": False,
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


@pytest.fixture
def described(base: Path) -> Path:
    assets = base / "1" / "assets"
    document = {
        "title": "<b>Cats</b>", "colour": 1,
        "signatures": {"s": {
            "inputs": {"x": {"kind": "image", "range": [0, 16], "inverted": False, "names": []}},
            "examples": [{"files": {"x": "cat.html"}}, {"inputs": {"x": [1]}}],
        }},
    }  # fmt: skip
    (assets / "salver.json").write_text(json.dumps(document))
    (assets / "cat.html").write_text("<script>alert(1)</script>")
    (assets / "secret").write_text("secret")
    return base


async def test_a_version_says_of_itself_what_its_document_says(described: Path) -> None:
    response = await ask(playground(described), "/playground/description?model=m&version=1")
    assert json.loads(response.body) == {
        "about": {
            "title": "<b>Cats</b>",
            "signatures": {"s": {
                "inputs": {"x": {"kind": "image", "range": [0, 16], "inverted": False}},
                "examples": [{"files": {"x": "cat.html"}}, {"inputs": {"x": [1]}}],
            }},
        },
        "warnings": ["colour is not known, and left out"],
        "labels_come_first": False,
    }  # fmt: skip
    assert dict(response.headers)["Cache-Control"] == "no-store"


async def test_labels_of_the_flag_come_before_what_a_version_says(described: Path) -> None:
    target = "/playground/description?model=m&version=1"
    for name, is_first in (("m", True), ("", True), ("n", False)):
        page = playground(described, **{name: "labels.txt"})
        assert json.loads((await ask(page, target)).body)["labels_come_first"] is is_first


async def test_a_version_that_says_nothing_says_nothing(base: Path) -> None:
    for version in (1, 2):
        target = f"/playground/description?model=m&version={version}"
        answer = json.loads((await ask(playground(base), target)).body)
        assert answer == {"about": None, "warnings": [], "labels_come_first": False}


async def test_what_a_request_may_leave_out_is_told(base: Path) -> None:
    page = Playground(
        About(version="1.2.3"),
        labels_files={},
        base_path_of=lambda _name, _version: str(base),
        in_thread=at_once,
        optional_of=lambda name, version: {f"{name}{version}": ["k"]},
    )
    answer = json.loads((await ask(page, "/playground/description?model=m&version=1")).body)
    assert answer["optional"] == {"m1": ["k"]}


async def test_a_wrong_document_is_told_of(base: Path) -> None:
    (base / "1" / "assets" / "salver.json").write_text('{"title": 3}')
    response = await ask(playground(base), "/playground/description?model=m&version=1")
    answer = json.loads(response.body)
    assert (answer["about"], answer["error"]) == (None, "salver.json: title: text is wanted, not 3")


async def test_the_file_of_an_example_is_given_and_is_no_page(described: Path) -> None:
    target = "/playground/example?model=m&version=1&file=cat.html"
    response = await ask(playground(described), target)
    assert response.body == b"<script>alert(1)</script>"
    assert response.content_type == "application/octet-stream"
    headers = dict(response.headers)
    assert headers["Content-Disposition"] == "attachment"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'self'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "file", ["secret", "salver.json", "labels.txt", "../../1/assets/cat.html", "cat.html%00", ""]
)
async def test_no_other_file_is_given(described: Path, file: str) -> None:
    target = f"/playground/example?model=m&version=1&file={file}"
    response = await ask(playground(described), target)
    assert response.status == 404
    assert json.loads(response.body)["error"].startswith("No example has a file")


async def test_a_file_that_became_a_link_is_not_given(described: Path) -> None:
    (described / "1" / "assets" / "cat.html").unlink()
    (described / "1" / "assets" / "cat.html").symlink_to("/etc/hostname")
    target = "/playground/example?model=m&version=1&file=cat.html"
    response = await ask(playground(described), target)
    assert response.status == 404
    assert json.loads(response.body) == {"error": "assets/cat.html is no regular file"}


async def test_the_past_is_told_where_it_is_kept(base: Path) -> None:
    page = playground(base, draw_history=lambda: lambda: b'{"steps": []}')
    response = await ask(page, "/admin/v1/history")
    assert (response.status, response.body) == (200, b'{"steps": []}')
    assert dict(response.headers)["Cache-Control"] == "no-store"
    assert answer_of(playground(base).routes(), "GET", "/admin/v1/history") is None
    assert answer_of(page.routes(), "POST", "/admin/v1/history") is None


async def test_a_past_that_cannot_be_had_is_unavailable(base: Path) -> None:
    def fail() -> bytes:
        raise Unavailable("The supervisor does not answer")

    response = await ask(playground(base, draw_history=lambda: fail), "/admin/v1/history")
    assert response.status == 503
    assert json.loads(response.body) == {"error": "The supervisor does not answer"}


@pytest.mark.parametrize("route", ["description", "example"])
async def test_what_no_version_says_is_not_found(base: Path, route: str) -> None:
    for query in ("", "model=m&version=..", "model=unknown&version=1"):
        assert (await ask(playground(base), f"/playground/{route}?{query}")).status == 404


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/"), ("PUT", "/playground/about"), ("GET", "/other"), ("GET", "/playgrounds"),
        ("GET", "/playground/nothing.js"), ("GET", "/playground/%2e%2e/page.py"), ("GET", ""),
    ],
)  # fmt: skip
def test_what_is_not_its_own_is_left_to_others(base: Path, method: str, target: str) -> None:
    assert answer_of(playground(base).routes(), method, target) is None


@pytest.mark.parametrize("target", ["/docs", "/docs?x=1", "/docs#/model/call"])
async def test_the_page_of_the_api_is_beside_it(base: Path, target: str) -> None:
    response = await ask(playground(base), target)
    assert (response.status, response.content_type) == (200, "text/html; charset=utf-8")
    assert b"/playground/js/docs/main.js" in response.body
    assert "script-src 'self'" in dict(response.headers)["Content-Security-Policy"]
