"""The page and the list of models of a server whose peers have further models."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from salver.peers.map import Placed
from tests.integration.chromium import DESKTOP, PHONE, Page, browsing
from tests.integration.peers import TOKEN, Peers, peers


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, model_path: Callable[[str], Path]
) -> Iterator[Peers]:
    directory = tmp_path_factory.mktemp("elsewhere")
    half = model_path("half_plus_two")
    net = directory / "net"
    shutil.copytree(model_path("mlp"), net)
    (net / "1" / "assets").mkdir(exist_ok=True)
    (net / "1" / "assets" / "labels.txt").write_text("\n".join(f"class {n}" for n in range(10)))
    models = {"n1": {"here": half}, "n2": {"there": half, "net": net}, "n3": {"there": half}}
    with peers(directory, models, "--enable_playground") as made:
        made.place(
            {
                "here": Placed(("n1", "n2"), (123,)),
                "there": Placed(("n2", "n3"), (123,), {"stable": 123}),
                "net": Placed(("n2",)),  # the map does not say which versions
                "nowhere": Placed(()),
            }
        )
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    browser.resize(DESKTOP)
    browser.problems()
    yield browser
    assert browser.problems() == []


def show(page: Page, made: Peers, model: str) -> None:
    page.open(f"{made.servers['n1'].url}/#/model/{model}")
    page.wait_for_text("h1", model)


def test_the_list_has_the_models_of_others_apart_with_the_servers_that_have_them(
    made: Peers,
) -> None:
    found = made.servers["n1"].get("/v1/models").json()
    assert [model["name"] for model in found["models"]] == ["here"]
    net, there = found["elsewhere"]
    assert net == {
        "name": "net",
        "nodes": ["n2"],
        "model_version_status": [],
        "version_labels": {},
    }
    assert (there["name"], there["nodes"]) == ("there", ["n2", "n3"])
    assert there["version_labels"] == {"stable": 123}
    status = made.servers["n2"].get("/v1/models/there").json()["model_version_status"]
    assert there["model_version_status"] == status


def test_a_server_is_told_of_the_models_that_are_here_alone(made: Peers) -> None:
    hop = {"salver-forwarded": "n2", "salver-peer-token": TOKEN}
    found = made.servers["n1"].get("/v1/models", headers=hop).json()
    assert found.keys() == {"models"}


def test_the_page_says_where_a_model_is_and_lets_it_be_tried(page: Page, made: Peers) -> None:
    show(page, made, "there")
    assert page.wait_for_text("header.title .state", "at n2 and n3").startswith("version 123")
    assert "version 123, at n2 and n3" in page.text(".sidebar")
    assert "stable (123)" in page.text(".controls")
    page.press("Run")
    page.wait_for_text(".result", "2.5")


def test_versions_that_the_map_leaves_out_are_asked_for_and_so_are_the_names_of_classes(
    page: Page, made: Peers
) -> None:
    show(page, made, "net")
    page.wait_for_text("header.title .state", "version 1, at n2")
    page.draw("canvas.pad", [(-50, -80), (60, -80), (0, 90)])
    page.wait_for_text(".result", "class ")


def test_nothing_of_that_is_wider_than_a_phone(page: Page, made: Peers) -> None:
    page.resize(PHONE)
    show(page, made, "there")
    page.wait_for_text("header.title .state", "at n2")
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]


def test_the_dashboard_has_the_models_that_are_here_alone(page: Page, made: Peers) -> None:
    page.open(f"{made.servers['n1'].url}/#/dashboard")
    shown = page.wait_for_text("main", "All models")
    assert "here" in shown
    assert "there" not in shown
