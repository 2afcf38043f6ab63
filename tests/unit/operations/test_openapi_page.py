import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.openapi import validate
from tests.shelf import FunctionModel, Shelf, half_plus_two, response_of, signature

from salver.about.writing import write_about
from salver.errors import Unavailable
from salver.operations.openapi_page import OpenApiPage
from salver.tfs.rest.description import describe
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import DEFAULT_SIGNATURE

F = DataType.FLOAT32


def half() -> FunctionModel:
    return FunctionModel(
        {DEFAULT_SIGNATURE: (signature({"x": (F, (-1,))}, {"y": (F, (-1,))}), half_plus_two)}
    )


class Made:
    """A page, and how often it went to a thread for a document."""

    def __init__(self, shelf: Shelf, directory: "Path | None" = None) -> None:
        self.count = 0
        self.gate: asyncio.Event | None = None
        self.page = OpenApiPage(
            [describe], shelf, lambda _name, _version: directory, in_thread=self._run, version="1.2"
        )

    async def _run(self, call: Callable[[], Any]) -> Any:
        self.count += 1
        if self.gate is not None:
            await self.gate.wait()
        return call()

    async def ask(self, query: str = "", etag: str = "") -> HttpResponse:
        head = f"If-None-Match: {etag}\r\n".encode() if etag else b""
        return await response_of(
            self.page(HttpRequest("GET", f"/openapi.json{query}", Headers(head)))
        )

    async def document(self, query: str = "") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await self.ask(query)).body)
        return found


async def test_it_is_made_once_as_long_as_the_models_are_the_same(shelf: Shelf) -> None:
    shelf.put("m", 1, half())
    made = Made(shelf)
    first, second = await made.ask(), await made.ask()
    assert made.count == 1
    assert first.body == second.body
    validate(json.loads(first.body))


@pytest.mark.parametrize("what", ["model", "version", "label", "same version again", "gone"])
async def test_it_is_made_anew_when_the_models_have_changed(shelf: Shelf, what: str) -> None:
    shelf.put("m", 1, half())
    made = Made(shelf)
    before = dict((await made.ask()).headers)["ETag"]
    match what:
        case "model":
            shelf.put("n", 1, half())
        case "version":
            shelf.put("m", 2, half())
        case "label":
            shelf.serving.assign_labels({"m": {"stable": 1}}, {})
        case "same version again":
            shelf.serving.withdraw(shelf.statuses("m")[0].id, lambda: None)
            wide = signature({"wide": (F, (-1, 3))}, {"y": (F, (-1,))})
            shelf.put("m", 1, FunctionModel({DEFAULT_SIGNATURE: (wide, half_plus_two)}))
        case _:
            shelf.serving.withdraw(shelf.statuses("m")[0].id, lambda: None)
    after = dict((await made.ask()).headers)["ETag"]
    assert made.count == 2
    assert before != after


async def test_a_client_that_has_it_is_told_so(shelf: Shelf) -> None:
    made = Made(shelf)
    etag = dict((await made.ask()).headers)["ETag"]
    again = await made.ask(etag=etag)
    assert (again.status, again.body, again.content_type) == (304, b"", None)


async def test_many_who_ask_at_once_wait_for_one_document(shelf: Shelf) -> None:
    shelf.put("m", 1, half())
    made = Made(shelf)
    made.gate = asyncio.Event()
    asked = [asyncio.ensure_future(made.ask()) for _ in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)  # all of them have begun
    made.gate.set()
    assert len({answer.body for answer in await asyncio.gather(*asked)}) == 1
    assert made.count == 1


async def test_one_who_leaves_does_not_keep_the_others_waiting(shelf: Shelf) -> None:
    made = Made(shelf)
    made.gate = asyncio.Event()
    first, second = (asyncio.ensure_future(made.ask()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    made.gate.set()
    assert (await second).status == 200


async def test_it_may_be_about_one_model(shelf: Shelf) -> None:
    shelf.put("m", 1, half())
    shelf.put("n", 1, half())
    made = Made(shelf)
    found = await made.document("?model=n")
    validate(found)
    assert "/v1/models/n:predict" in found["paths"]
    assert "/v1/models/m:predict" not in found["paths"]
    assert found["x-models"] == [{"name": "n", "described": True}]


async def test_a_model_that_is_not_there_is_not_found(shelf: Shelf) -> None:
    answer = await Made(shelf).ask("?model=nope")
    assert answer.status == 404
    assert "nope" in json.loads(answer.body)["error"]


async def test_documents_of_many_models_are_not_all_kept(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    write_about(tmp_path / "1", {"description": "x" * 900_000})
    for n in range(40):
        shelf.put(f"m{n}", 1, half())
    made = Made(shelf, tmp_path / "1")
    for n in range(40):
        assert (await made.ask(f"?model=m{n}")).status == 200
    assert made.page._kept_bytes() <= 16 << 20
    await made.ask("?model=m39")
    assert made.count == 40
    await made.ask("?model=m0")
    assert made.count == 41


async def test_versions_and_labels_have_paths_of_their_own(shelf: Shelf) -> None:
    shelf.put("m", 1, half())
    shelf.put("m", 2, half())
    shelf.serving.assign_labels({"m": {"stable": 1}}, {})
    paths = (await Made(shelf).document())["paths"]
    for which in ("", "/versions/1", "/versions/2", "/labels/stable"):
        assert f"/v1/models/m{which}:predict" in paths


async def test_a_model_without_an_available_version_is_named_alone(shelf: Shelf) -> None:
    shelf.names.append("m")
    found = await Made(shelf).document()
    assert found["x-models"] == [{"name": "m", "described": False}]


async def test_a_wrong_salver_json_leaves_the_signature(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "salver.json").write_text("{")
    shelf.put("m", 1, half())
    found = await Made(shelf, tmp_path).document()
    assert "/v1/models/m:predict" in found["paths"]


async def test_a_directory_that_cannot_be_found_leaves_the_signature(shelf: Shelf) -> None:
    def nowhere(_name: str, _version: int) -> Path:
        raise Unavailable("the store is away")

    shelf.put("m", 1, half())
    made = Made(shelf)
    made.page._directory_of = nowhere
    assert "/v1/models/m:predict" in (await made.document())["paths"]


async def test_what_is_for_the_loader_alone_is_left_out_and_the_default_comes_first(
    shelf: Shelf,
) -> None:
    each = (signature({"x": (F, (-1,))}, {"y": (F, (-1,))}), half_plus_two)
    names = ("a", "__saved_model_init_op", DEFAULT_SIGNATURE)
    shelf.put("m", 1, FunctionModel(dict.fromkeys(names, each)))
    found = await Made(shelf).document()
    body = found["paths"]["/v1/models/m:predict"]["post"]["requestBody"]
    refs = [each["$ref"] for each in body["content"]["application/json"]["schema"]["anyOf"]]
    assert [ref.split(".")[-2] for ref in refs] == [DEFAULT_SIGNATURE, "a"]


async def test_no_request_holds_a_version_when_it_is_answered(shelf: Shelf) -> None:
    shelf.put("m", 1, half())
    await Made(shelf).ask()
    assert shelf.in_flight() == 0


async def test_its_examples_are_answered(shelf: Shelf) -> None:
    shelf.put("m", 1, half())
    found = await Made(shelf).document()
    content = found["paths"]["/v1/models/m:predict"]["post"]["requestBody"]["content"]
    (example,) = content["application/json"]["examples"].values()
    rows = np.array(example["value"]["instances"], np.float32)
    assert half_plus_two(rows)[0].shape == (1,)
