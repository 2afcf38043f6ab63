import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.graph_wire import (
    FLOAT,
    X,
    constant,
    function,
    graph,
    identity,
    node,
    saved_model,
    tensor,
    text,
)  # fmt: skip
from tests.hostile_graphs import DEADLY, HARMLESS, with_constant

from salver.backends.tensorflow import examination
from salver.backends.tensorflow.examination import Examination, examine
from salver.backends.tensorflow.saved_model import meta_graph_with_tags, read_meta_graphs
from salver.errors import Code, DataLoss, FailedPrecondition, InvalidArgument, ServingError

GIB = 1 << 30


def look(directory: Path, *, memory: int = 16 * GIB) -> Examination:
    variant = meta_graph_with_tags(read_meta_graphs(directory), ["serve"], str(directory))
    return examine(str(directory), variant, memory=lambda: memory)


def saved(directory: Path, file: bytes) -> Path:
    (directory / "saved_model.pb").write_bytes(file)
    return directory


@pytest.mark.parametrize("name", DEADLY)
def test_what_ends_the_process_is_refused_and_not_tried_again(name: str, tmp_path: Path) -> None:
    deadly = DEADLY[name]
    with pytest.raises(ServingError) as caught:
        look(saved(tmp_path, deadly.make()))
    assert deadly.says in caught.value.message
    assert caught.value.code == deadly.code
    assert caught.value.is_final
    assert caught.value.hint


@pytest.mark.parametrize("name", HARMLESS)
def test_what_looks_like_it_is_let_pass(name: str, tmp_path: Path) -> None:
    look(saved(tmp_path, HARMLESS[name]()))


@pytest.mark.parametrize(
    "name",
    ["big", "classes", "convnet", "every_dtype", "half_plus_two", "half_plus_two_tf2", "several"],
)
def test_models_that_were_exported_pass(name: str, version_path: Callable[[str], Path]) -> None:
    look(version_path(name))


def test_models_with_loops_are_told_from_those_without(version_path: Callable[[str], Path]) -> None:
    assert look(version_path("slow")).can_loop
    assert not look(version_path("half_plus_two")).can_loop
    assert not look(version_path("convnet")).can_loop
    assert "Conv2D" in look(version_path("convnet")).operations


TEXT = """meta_graphs {{
  meta_info_def {{ tags: "serve" }}
  graph_def {{
    node {{ name: "n" op: "{op}" }}
    node {{ name: "c" op: "Const" attr {{
      key: "value" value {{ tensor {{ dtype: DT_FLOAT tensor_shape {{ {dims} }} }} }}
    }} }}
    library {{ function {{
      signature {{ name: "f" }}
      node_def {{ name: "n" op: "{inner}" attr {{ key: "f" value {{ func {{ name: "f" }} }} }} }}
    }} }}
  }}
}}"""


def written(directory: Path, *, op: str = "Add", dims: str = "", inner: str = "Add") -> Path:
    text = TEXT.format(op=op, dims=dims, inner=inner)
    (directory / "saved_model.pbtxt").write_text(text)
    return directory


@pytest.mark.parametrize("operation", ["While", "StatelessWhile", "For", "Enter", "RefEnter"])
def test_every_kind_of_loop_is_seen_in_both_forms(tmp_path: Path, operation: str) -> None:
    assert look(written(tmp_path, op=operation)).can_loop
    assert look(written(tmp_path, inner=operation)).can_loop
    assert not look(written(tmp_path)).can_loop
    loop = node("l", operation)
    assert look(saved(tmp_path, saved_model(graph([X, loop])))).can_loop
    in_function = saved_model(graph([X], [function("f", [loop], "x")]))
    assert look(saved(tmp_path, in_function)).can_loop
    named_like_one = saved_model(graph([X, node("While", "Add")]))
    assert not look(saved(tmp_path, named_like_one)).can_loop


def test_files_in_text_form_are_examined_too(tmp_path: Path) -> None:
    huge = "dim { size: 1099511627776 } dim { size: 1099511627776 }"
    with pytest.raises(InvalidArgument, match=r"Node c \(Const\) is a constant of shape"):
        look(written(tmp_path, dims=huge))
    with pytest.raises(FailedPrecondition, match="Function f is self recursive"):
        look(written(tmp_path, op="f", inner="PartitionedCall"))


def test_text_that_is_nested_without_end_is_no_text_form(tmp_path: Path) -> None:
    deep = "nothing { " * 100_000 + "} " * 100_000
    (tmp_path / "saved_model.pbtxt").write_text(f"meta_graphs {{ {deep} }}")
    with pytest.raises(DataLoss, match="as text proto"):
        read_meta_graphs(tmp_path)


def test_only_the_variant_that_is_loaded_is_examined(tmp_path: Path) -> None:
    good = HARMLESS["a_constant"]()
    bad = DEADLY["calls_itself"].make().replace(b"\x22\x05serve", b"\x22\x05other")
    saved(tmp_path, bad + good)
    look(tmp_path)
    variants = read_meta_graphs(tmp_path)
    with pytest.raises(FailedPrecondition, match="self recursive"):
        examine(str(tmp_path), meta_graph_with_tags(variants, ["other"], str(tmp_path)))


def test_a_graph_that_is_cut_off_is_no_graph(tmp_path: Path) -> None:
    file = bytearray(HARMLESS["a_constant"]())
    place = file.index(b"\x0a", file.index(b"serve") + 8)  # the first node
    file[place + 1] = 0x7F
    with pytest.raises(DataLoss, match="as binary proto"):
        look(saved(tmp_path, bytes(file)))


@pytest.mark.parametrize("name", ["assets", "variables"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, name: str) -> None:
    saved(tmp_path, HARMLESS["a_constant"]())
    (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / name / "words.txt")
    with pytest.raises(
        FailedPrecondition, match=r"words\.txt; Is a pipe, not a regular file"
    ) as caught:
        look(tmp_path)
    assert caught.value.is_final


def test_what_a_constant_claims_is_held_against_the_memory_there_is(tmp_path: Path) -> None:
    # 4 GiB of zeros, of which the file has none.
    saved(tmp_path, with_constant(tensor(FLOAT, [GIB])))
    look(tmp_path, memory=5 * GIB)
    with pytest.raises(FailedPrecondition, match=f"and there is memory for {3 * GIB}"):
        look(tmp_path, memory=3 * GIB)


def test_what_the_file_has_of_a_constant_counts_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "_SMALL_BYTES", 0)
    content = text(4, bytes(4 << 20))
    saved(tmp_path, with_constant(tensor(FLOAT, [1 << 20], content)))
    look(tmp_path, memory=1 << 20)
    claims_more = tensor(FLOAT, [1 << 21], content)
    saved(tmp_path, with_constant(claims_more))
    with pytest.raises(FailedPrecondition, match=r"claim 419\d{4} bytes more than the file has"):
        look(tmp_path, memory=1 << 20)


def test_claims_of_all_constants_add_up(tmp_path: Path) -> None:
    many = [constant(f"c{n}", FLOAT, tensor(FLOAT, [GIB])) for n in range(8)]
    saved(tmp_path, saved_model(graph([X, *many, identity("y", "x")])))
    with pytest.raises(FailedPrecondition, match="claim 343597"):
        look(tmp_path, memory=16 * GIB)


def test_others_get_their_turn_meanwhile(tmp_path: Path) -> None:
    breaths: list[None] = []
    saved(tmp_path, DEADLY["handed_on_too_often"].make())
    variant = read_meta_graphs(tmp_path)[0]
    with pytest.raises(InvalidArgument):
        examine(str(tmp_path), variant, breathe=lambda: breaths.append(None))
    assert len(breaths) > 100


def test_a_file_that_cannot_be_read_gives_the_words_of_the_system(tmp_path: Path) -> None:
    saved(tmp_path, HARMLESS["a_constant"]())
    variant = read_meta_graphs(tmp_path)[0]
    (tmp_path / "saved_model.pb").unlink()
    with pytest.raises(ServingError, match="No such file or directory") as caught:
        examine(str(tmp_path), variant)
    assert caught.value.code is Code.NOT_FOUND
