"""The dashboard: what happens, and what happened while it was closed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.chromium import DESKTOP, PHONE, Page, browsing
from tests.integration.serving import Server, eventually, running


@pytest.fixture(scope="module")
def server(model_path: Callable[[str], Path]) -> Iterator[Server]:
    """A server that has answered 40 requests and refused 5 before anybody looked."""
    path = str(model_path("half_plus_two"))
    with running(path, "--slow_request_ms=1", command="salver") as server:
        for _ in range(40):
            assert server.predict("half_plus_two", [1.0]).status_code == 200
        for _ in range(5):
            assert server.predict("half_plus_two", ["no number"]).status_code == 400
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.fixture
def page(browser: Page, server: Server) -> Iterator[Page]:
    browser.resize(DESKTOP)
    browser.open(f"{server.url}/playground/about")
    browser.run("localStorage.clear()")
    browser.problems()
    yield browser
    assert browser.problems() == []


def open_dashboard(page: Page, server: Server) -> None:
    page.open(f"{server.url}/#/dashboard")
    page.wait_for_text(".tiles", "All requests")


def tile(page: Page, title: str) -> tuple[str, bool]:
    """What a tile says, and whether in red."""
    found: list[Any] = page.run(
        "const tile = [...document.querySelectorAll('.tile')].find((one) => "
        "one.firstChild.textContent === arguments[0]);"
        "return [tile.children[1].textContent, tile.classList.contains('bad')]",
        title,
    )
    return found[0], found[1]


def test_slow_requests_are_told_with_what_took_the_time(page: Page, server: Server) -> None:
    (slowest,) = server.get("/admin/v1/slow_requests").json()["requests"][-1:]
    assert slowest["target"] == "/v1/models/half_plus_two:predict"  # the first runs take long
    open_dashboard(page, server)
    page.wait_for_text("article.dashboard", "Slow requests")
    rows = page.run(
        "return [...document.querySelectorAll('[aria-label=\"Slow requests\"] tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    assert rows[-1][1] == "POST /v1/models/half_plus_two:predict"
    assert rows[-1][2] == "200"
    for stage in slowest["stages"]:
        assert stage["name"] in rows[-1][4]


def test_what_happened_while_it_was_closed_is_there_when_it_is_opened(
    page: Page, server: Server
) -> None:
    open_dashboard(page, server)
    assert tile(page, "All requests") == ("45", False)
    assert tile(page, "All errors") == ("5", True)
    assert page.text(".charts").count("INVALID_ARGUMENT") == 1
    drawn = (
        "return Object.fromEntries([...document.querySelectorAll('.chart')].map((chart) => "
        "[chart.querySelector('.chart-title').textContent,"
        " [...chart.querySelectorAll('path')].every((line) => line.getAttribute('d') !== 'M0 0')]))"
    )
    eventually("there are lines", lambda: page.run(drawn)["Requests per second"])
    assert page.run(drawn)["Requests per second by version"]
    page.open(f"{server.url}/#/model/half_plus_two")
    page.wait_for_text("h1", "half_plus_two")
    open_dashboard(page, server)
    assert tile(page, "All requests") == ("45", False)


def test_errors_are_red_and_the_others_are_not(page: Page, server: Server) -> None:
    open_dashboard(page, server)
    colours = page.run(
        "const of = (where) => { const one = document.querySelector(where);"
        " return one && getComputedStyle(one)[where.includes('rect') ? 'fill' : where.includes("
        "'path') ? 'stroke' : 'color'] };"
        "return arguments[0].map(of)",
        [".tile.bad b", ".line.bad path, path.line.bad", "rect.column.bad", ".figures .bad",
         ".tile:not(.bad) b"],
    )  # fmt: skip
    *red, plain = colours
    assert set(red) == {red[0]}
    assert red[0] != plain


def test_live_requests_are_added_to_what_was(page: Page, server: Server) -> None:
    open_dashboard(page, server)
    before = int(tile(page, "All requests")[0])
    for _ in range(10):
        server.predict("half_plus_two", [1.0])
    eventually("they are counted", lambda: tile(page, "All requests") == (str(before + 10), False))
    assert float(tile(page, "Requests")[0]) > 0


def test_after_a_pause_the_server_is_asked_what_happened_meanwhile(
    page: Page, server: Server
) -> None:
    open_dashboard(page, server)
    page.run(
        "window.asked = 0; const real = fetch; window.fetch = (path, more) => {"
        " window.asked += path === '/admin/v1/history'; return real(path, more) };"
        "const now = performance.now.bind(performance); performance.now = () => now() + 60000"
    )
    eventually("it is asked again", lambda: page.run("return window.asked") == 1)


def test_without_a_memory_of_the_server_the_page_counts_by_itself(
    page: Page, model_path: Callable[[str], Path]
) -> None:
    path = str(model_path("half_plus_two"))
    with running(path, "--dashboard_history_seconds=0", command="salver") as own:
        own.predict("half_plus_two", [1.0])
        open_dashboard(page, own)
        assert tile(page, "All requests") == ("0", False)
        assert "since this page was opened" in page.text(".tiles")
        own.predict("half_plus_two", [1.0])
        eventually("it is counted", lambda: tile(page, "All requests") == ("1", False))
        assert [entry for entry in page.problems() if "history" not in entry] == []


def test_the_time_that_is_shown_can_be_chosen_and_is_remembered(page: Page, server: Server) -> None:
    open_dashboard(page, server)
    options = page.run(
        "return [...document.querySelectorAll('[data-control=span] option')].map((o) => o.text)"
    )
    assert options == ["5 minutes", "15 minutes", "hour"]
    page.select("[data-control=span]", "3600")
    open_dashboard(page, server)
    assert page.find("[data-control=span]").get_property("value") == "3600"


def test_on_a_phone_everything_is_within_reach(page: Page, server: Server) -> None:
    page.resize(PHONE)
    open_dashboard(page, server)
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]
    assert page.run(
        "return [...document.querySelectorAll('.tile b')].every((one) => "
        "one.scrollWidth <= one.clientWidth)"
    )
