"""The playground's form for each kind of input that models of any backend have, in a browser."""

from collections.abc import Iterator

import pytest
from selenium.webdriver.support.ui import Select

from tests.integration.chromium import Page, browsing
from tests.integration.serving import Server, running

DTYPES = {
    "uint8": "200",
    "int64": "-7",
    "float16": "1.5",
    "bfloat16": "2.5",
    "float64": "0.25",
    "bool": "true",
    "string": "hello",
}
SHAPES = {"scalar": [], "rows": [-1], "pairs": [-1, 2]}
MODEL = """
class Model:
    inputs = {{"x": ("{dtype}", {shape})}}
    outputs = {{"y": ("{dtype}", {shape})}}

    def predict(self, inputs):
        return {{"y": inputs["x"]}}
"""


OPTIONAL = """
class Model:
    inputs = {{
        "x": ("float32", {shape}),
        "factor": ("float32", {factor}, {default}),
    }}
    outputs = {{"y": ("float32", {shape})}}

    def predict(self, inputs):
        return {{"y": inputs["x"] * inputs["factor"]}}
"""
FORMS = {
    "one_table": {"shape": [-1], "factor": [-1], "default": [7.0]},
    "boxes": {"shape": [-1, 200], "factor": [], "default": 7.0},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    zoo = tmp_path_factory.mktemp("zoo")
    for kind, shape in SHAPES.items():
        for dtype in DTYPES:
            path = zoo / f"{kind}_{dtype}"
            path.mkdir()
            (path / "model.py").write_text(MODEL.format(dtype=dtype, shape=shape))
    for name, of in FORMS.items():
        (zoo / name).mkdir()
        (zoo / name / "model.py").write_text(OPTIONAL.format(**of))
    with running(str(zoo), command="salver") as server:
        yield server


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_typed_comes_back(dtype: str, kind: str, page: Page, server: Server) -> None:
    page.open(f"{server.url}/#/model/{kind}_{dtype}")
    typed = DTYPES[dtype]
    if (dtype, kind) == ("string", "pairs"):  # has no form but JSON
        page.type_into("textarea", '["hello", "you"]')
    elif dtype == "string":
        page.type_into("textarea", typed)
    elif dtype == "bool":
        page.find("table.cells select, table.cells input")
        for cell in page.all("table.cells input"):
            cell.click()
        for cell in page.all("table.cells select"):
            Select(cell).select_by_value(typed)
    else:
        page.find("table.cells input")
        for cell in page.all("table.cells input"):
            cell.clear()
            cell.send_keys(typed)
    page.press("Run")
    page.wait_for_text(".result", typed)
    assert page.text(".error") == ""


def test_an_optional_input_is_left_out_until_it_is_touched(page: Page, server: Server) -> None:
    page.open(f"{server.url}/#/model/one_table")
    page.find("table.cells input")
    x, factor = page.all("table.cells input")
    if "factor" in str(x.get_attribute("aria-label")):
        x, factor = factor, x
    x.clear()
    x.send_keys("3")
    page.press("Run")
    page.wait_for_text(".result", "21")
    assert "may be left out" in page.text(".types")
    assert "factor" not in page.text(".snippets pre")
    factor.clear()
    factor.send_keys("2")
    page.press("Run")
    page.wait_for_text(".result", "6")
    assert "factor" in page.text(".snippets pre")
    assert page.text(".error") == ""


def test_a_request_without_an_optional_input_is_shown_by_the_form(
    page: Page, server: Server
) -> None:
    page.open(f"{server.url}/#/model/one_table")
    page.find("table.cells input")
    page.pick("Form or JSON", "json")
    area = page.find("textarea.json")
    area.clear()
    area.send_keys('{"instances": [{"x": 4}, {"x": 5}]}')
    page.pick("Form or JSON", "form")
    assert len(page.all("table.cells tbody tr")) == 2
    page.press("Run")
    page.wait_for_text(".result", "35")


def test_an_optional_input_with_a_box_of_its_own_is_left_out_too(
    page: Page, server: Server
) -> None:
    page.open(f"{server.url}/#/model/boxes")
    page.find("textarea")
    page.pick("How to give x", "numbers")
    page.type_into("textarea", ", ".join(["3"] * 200))
    page.press("Run")
    page.wait_for_text(".result", "21")
    factor = page.find("section[aria-label='Input factor'] table.cells input")
    factor.clear()
    factor.send_keys("2")
    page.press("Run")
    page.wait_for_text(".result", "6")
    assert page.text(".error") == ""
