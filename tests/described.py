"""Models that say of themselves what they take and give, written without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from salver.about.writing import write_about
from salver.demo.graphs import Graph, write_saved_model
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["write_described"]

F, L, B, S = DataType.FLOAT32, DataType.INT64, DataType.BOOL, DataType.STRING


def write_described(base: Path) -> None:
    """Write every model, version 1 of each, as `base/NAME/1`."""
    prices(base / "prices" / "1")
    mood(base / "mood" / "1")
    tags(base / "tags" / "1")
    animal(base / "animal" / "1")
    paper(base / "paper" / "1")
    loudness(base / "loudness" / "1")


def write(
    version: Path,
    graph: Graph,
    inputs: Mapping[str, tuple[DataType, tuple[int, ...]]],
    outputs: Mapping[str, tuple[DataType, tuple[int, ...]]],
    about: Mapping[str, Any],
) -> None:
    def specs(of: Mapping[str, tuple[DataType, tuple[int, ...]]]) -> dict[str, TensorSpec]:
        return {name: TensorSpec(*spec) for name, spec in of.items()}

    signature = Signature(specs(inputs), specs(outputs))
    write_saved_model(version, graph, {DEFAULT_SIGNATURE: signature})
    head = {name: value for name, value in about.items() if name in ("title", "description")}
    rest = {name: value for name, value in about.items() if name not in head}
    write_about(version, {**head, "signatures": {DEFAULT_SIGNATURE: rest}})


def prices(version: Path) -> None:
    """A price of a house: 2 per m², 10 a room, minus its age; 50 in the south, 5 for a garden."""
    graph = Graph()
    graph.placeholder("house", F, (-1, 3))
    graph.placeholder("region", L, (-1,))
    graph.placeholder("garden", B, (-1,))
    weights = graph.constant("weights", np.array([[2.0], [10.0], [-1.0]], np.float32))
    flat = graph.constant("flat", np.array([-1], np.int32))
    by_house = graph.node(
        "Reshape",
        "by_house",
        (graph.node("MatMul", "product", ("house", weights), T=F), flat),
        T=F,
        Tshape=DataType.INT32,
    )
    parts = [by_house]
    for name, dtype, worth in (("region", L, 50.0), ("garden", B, 5.0)):
        value = graph.node("Cast", f"{name}_value", (name,), SrcT=dtype, DstT=F)
        factor = graph.constant(f"{name}_worth", np.array(worth, np.float32))
        parts.append(graph.node("Mul", f"by_{name}", (value, factor), T=F))
    graph.node("AddN", "price", parts, N=len(parts), T=F)
    write(
        version,
        graph,
        {"house": (F, (-1, 3)), "region": (L, (-1,)), "garden": (B, (-1,))},
        {"price": (F, (-1,))},
        {
            "title": "House prices",
            "description": "A price from a few facts.",
            "inputs": {
                "house": {"kind": "vector", "names": ["area", "rooms", "age"],
                          "units": ["m²", "", "years"], "range": [0, 500]},
                "region": {"title": "Region", "kind": "category", "choices": ["north", "south"],
                           "description": "Where it stands"},
                "garden": {"title": "Garden", "kind": "category", "choices": ["no", "yes"]},
            },
            "outputs": {"price": {"title": "Price", "kind": "number", "unit": "k€",
                                  "threshold": 300}},
            "examples": [
                {"title": "a flat", "inputs": {"house": [60, 2, 30], "region": 0, "garden": False}},
                {"title": "two villas", "inputs": {
                    "house": [[200, 8, 5], [300, 10, 50]], "region": [1, 1],
                    "garden": [True, True]}},
            ],
        },
    )  # fmt: skip


def mood(version: Path) -> None:
    """The longer a text, the happier."""
    graph = Graph()
    graph.placeholder("text", S, (-1,))
    length = graph.node("StringLength", "length", ("text",), unit=b"BYTE")
    value = graph.node("Cast", "value", (length,), SrcT=DataType.INT32, DstT=F)
    less = graph.node("Sub", "less", (value, graph.constant("ten", np.array(10, np.float32))), T=F)
    shape = graph.constant("shape", np.array([-1, 1], np.int32))
    column = graph.node("Reshape", "column", (less, shape), T=F, Tshape=DataType.INT32)
    graph.node("Sigmoid", "score", (column,), T=F)
    about = {
        "inputs": {"text": {"kind": "text", "title": "What you say"}},
        "outputs": {"score": {"kind": "classes", "labels": ["sad", "happy"], "threshold": 0.5}},
        "examples": [{"title": "short", "inputs": {"text": "no"}},
                     {"title": "long", "inputs": {"text": ["yes, what a lovely day", "bah"]}}],
    }  # fmt: skip
    write(version, graph, {"text": (S, (-1,))}, {"score": (F, (-1, 1))}, about)


def tags(version: Path) -> None:
    """Three scores that have nothing to do with each other."""
    graph = Graph()
    graph.placeholder("x", F, (-1, 3))
    graph.node("Sigmoid", "tags", ("x",), T=F)
    about = {
        "inputs": {"x": {"kind": "vector", "names": ["red", "round", "sweet"], "range": [-5, 5]}},
        "outputs": {"tags": {"kind": "classes", "labels": ["red", "round", "sweet"],
                             "threshold": 0.6}},
    }  # fmt: skip
    write(version, graph, {"x": (F, (-1, 3))}, {"tags": (F, (-1, 3))}, about)


def animal(version: Path) -> None:
    """The number of the greatest value."""
    graph = Graph()
    graph.placeholder("x", F, (-1, 3))
    axis = graph.constant("axis", np.array(1, np.int32))
    graph.node("ArgMax", "which", ("x", axis), T=F, Tidx=DataType.INT32, output_type=L)
    about = {"outputs": {"which": {"kind": "classes", "labels": ["cat", "dog", "cow"]}}}
    write(version, graph, {"x": (F, (-1, 3))}, {"which": (L, (-1,))}, about)


def paper(version: Path) -> None:
    """The mean of a picture of ink on paper, from -1 for black to 1 for white."""
    graph = Graph()
    graph.placeholder("x", F, (-1, 16, 16))
    axes = graph.constant("axes", np.array([1, 2], np.int32))
    graph.node("Mean", "mean", ("x", axes), T=F, Tidx=DataType.INT32, keep_dims=False)
    about = {
        "inputs": {"x": {"kind": "image", "layout": "HW", "range": [-1, 1], "inverted": False}},
        "outputs": {"mean": {"kind": "number"}},
    }
    write(version, graph, {"x": (F, (-1, 16, 16))}, {"mean": (F, (-1,))}, about)


def loudness(version: Path) -> None:
    """How many samples a sound has, and the greatest of them."""
    graph = Graph()
    graph.placeholder("wave", F, (-1,))
    axis = graph.constant("axis", np.array([0], np.int32))
    graph.node("Max", "peak", ("wave", axis), T=F, Tidx=DataType.INT32, keep_dims=False)
    graph.node("Size", "samples", ("wave",), T=F, out_type=L)
    about = {"inputs": {"wave": {"kind": "audio", "unit": "8 kHz"}}}
    write(version, graph, {"wave": (F, (-1,))}, {"peak": (F, ()), "samples": (L, ())}, about)
