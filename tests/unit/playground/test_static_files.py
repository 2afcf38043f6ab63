import re
from pathlib import Path

import pytest

import salver.playground
from salver.playground.static_files import SECURITY_HEADERS, StaticFiles
from salver.transport.messages import Headers, HttpRequest

STATIC = Path(salver.playground.__file__).with_name("static")
SCRIPTS = sorted(STATIC.rglob("*.js"))
INSIDE = re.compile(r'(?:from|import\()\s*"(\./[^"]+|\.\./[^"]+)"')

PAGES = ("index.html", "docs.html")
AT_ONCE = re.compile(r'from\s*"(\./[^"]+|\.\./[^"]+)"')
NAMED = re.compile(r'(?:src|href)="/playground/([^"#]+)"')


@pytest.fixture(scope="module")
def files() -> StaticFiles:
    return StaticFiles(STATIC)


def get(name: str = "", **headers: str) -> HttpRequest:
    raw = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
    return HttpRequest("GET", f"/playground/{name}", Headers(raw.encode()))


def test_a_file_has_its_type_and_the_headers_that_guard_the_page(files: StaticFiles) -> None:
    response = files.answer("js/main.js", get())
    assert response is not None
    assert response.status == 200
    assert response.content_type == "text/javascript; charset=utf-8"
    assert set(SECURITY_HEADERS) < set(response.headers)
    assert ("Cache-Control", "no-cache") in response.headers
    assert response.body == (STATIC / "js" / "main.js").read_bytes()


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    policy = dict(SECURITY_HEADERS)["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policy
    assert "http" not in policy


def test_whoever_has_a_file_is_told_so(files: StaticFiles) -> None:
    first = files.answer("index.html", get())
    assert first is not None
    etag = dict(first.headers)["ETag"]
    again = files.answer("index.html", get(if_none_match=f'"other", W/{etag}'))
    assert again is not None
    assert (again.status, again.body, again.content_type) == (304, b"", None)
    assert dict(again.headers)["ETag"] == etag
    changed = files.answer("index.html", get(if_none_match='"other"'))
    assert changed is not None
    assert changed.status == 200


@pytest.mark.parametrize("name", ["", "nothing.js", "../page.py", "js/../index.html", "js", "/etc"])
def test_nothing_else_is_served(files: StaticFiles, name: str) -> None:
    assert files.answer(name, get()) is None


def test_only_the_kinds_of_a_page_are_read(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("hello")
    (tmp_path / "page.html~").write_text("old")
    (tmp_path / "notes.py").write_text("")
    assert StaticFiles(tmp_path).names == ("page.html",)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_of_text(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|"
        r"createContextualFragment|setHTML|srcdoc|https?://(?!www\.w3\.org/2000/svg)"
    )
    assert re.findall(forbidden, text) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_that_is_imported_is_there(script: Path) -> None:
    for name in INSIDE.findall(script.read_text(encoding="utf-8")):
        assert (script.parent / name).is_file(), name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short_and_begin_with_what_they_are(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) < 400


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_files_that_are_there_and_has_nothing_inline(name: str) -> None:
    page = (STATIC / name).read_text(encoding="utf-8")
    named = NAMED.findall(page)
    assert named
    for each in named:
        assert (STATIC / each).is_file()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)


@pytest.mark.parametrize("name", PAGES)
def test_a_whole_page_is_small(name: str) -> None:
    page = STATIC / name
    named = [STATIC / each for each in NAMED.findall(page.read_text(encoding="utf-8"))]
    assert sum(path.stat().st_size for path in {page}.union(*map(with_imports, named))) < 257_000


def with_imports(script: Path) -> set[Path]:
    """A file, and all that it brings; not what it imports later, when a person needs it."""
    found, left = {script}, [script]
    while left:
        path = left.pop()
        for name in AT_ONCE.findall(path.read_text(encoding="utf-8")):
            inner = (path.parent / name).resolve()
            if inner not in found:
                found.add(inner)
                left.append(inner)
    return found
