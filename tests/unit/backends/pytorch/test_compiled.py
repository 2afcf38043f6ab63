from pathlib import Path

import pytest
from tests.models.pt2 import leaf, mapping, sequence, tree, write

from salver.backends.pytorch.archive import open_archive
from salver.backends.pytorch.compiled import Compiled, is_compiled, read_compiled
from salver.backends.pytorch.leaves import Leaf
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType

FOLDER = "data/aotinductor/model"
CHECK = """
AOTI_NOINLINE static void check_input_{number}(
    AtenTensorHandle* input_handles
) {{
    ConstantHandle {name} = ConstantHandle(input_handles[{number}]);
    int32_t {name}_expected_dtype = aoti_torch_dtype_{dtype}();
    auto {name}_size = {name}.sizes();
    {sizes}
}}
"""
TWO_AXES = """
    if (arg0_1_size[0] < 2) {
    if (4 != arg0_1_size[1]) {
    auto arg0_1_stride = arg0_1.strides();
    if (1 != arg0_1_stride[1]) {
"""
ONE_AXIS = "if (1 != arg1_1_stride[0]) {"


def source(given: object = None, checks: str = "") -> bytes:
    takes = tree(sequence(sequence(leaf(), mapping(mask=leaf())), mapping()))
    gives = tree(mapping(logits=leaf()) if given is None else given)  # type: ignore[arg-type]
    text = checks or (
        CHECK.format(number=0, name="arg0_1", dtype="float32", sizes=TWO_AXES)
        + CHECK.format(number=1, name="arg1_1", dtype="bool", sizes=ONE_AXIS)
    )
    return f'{text}\n    in_spec_ = R"({takes})";\n    out_spec_ = R"({gives})";\n'.encode()


def read(path: Path, members: dict[str, bytes]) -> Compiled | None:
    write(path, members)
    with open_archive(path) as archive:
        assert is_compiled(archive)
        return read_compiled(archive)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.pt2"


def test_the_source_of_a_package_tells_its_inputs(path: Path) -> None:
    found = read(path, {f"{FOLDER}/a.wrapper.cpp": source(), f"{FOLDER}/a.wrapper.so": b"\x7fELF"})
    assert found == Compiled(
        (Leaf("x0", DataType.FLOAT32, (-1, 4)), Leaf("x1_mask", DataType.BOOL, (-1,))),
        ("logits",),
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"int main() {}",
        source(checks="// nothing is checked"),
        source(checks=CHECK.format(number=0, name="a", dtype="complex32", sizes="") * 2),
        b"\xff\xfe",
    ],
)
def test_a_source_that_does_not_tell_is_no_error(text: bytes, path: Path) -> None:
    assert read(path, {f"{FOLDER}/a.wrapper.cpp": text}) is None


def test_a_package_without_its_source_tells_nothing(path: Path) -> None:
    assert read(path, {f"{FOLDER}/a.wrapper.so": b"\x7fELF"}) is None


def test_of_several_models_none_is_chosen(path: Path) -> None:
    members = {f"data/aotinductor/{name}/a.wrapper.cpp": source() for name in ("a", "b")}
    with pytest.raises(FailedPrecondition, match=r"holds several models, .*: a, b"):
        read(path, members)
