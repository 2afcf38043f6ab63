import os
import zipfile
from pathlib import Path

import pytest

from salver.backends.keras.backend import KerasBackend
from salver.backends.keras.files import (
    is_keras_name,
    keras_file,
    must_be_whole,
    stamp,
)
from salver.backends.keras.options import KerasOptions
from salver.backends.protocol import Listing
from salver.errors import DataLoss, FailedPrecondition, NotFound, PermissionDenied

HDF5 = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("model.keras", True),
        ("model.h5", True),
        ("model.hdf5", True),
        ("my.best.h5", True),
        ("model.weights.h5", False),
        ("model.weights.keras", False),
        ("model.tflite", False),
        ("keras", False),
    ],
)
def test_a_model_is_known_by_its_name(name: str, is_one: bool, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert is_keras_name(name) is is_one
    match = KerasBackend().detect(Listing.of(tmp_path), KerasOptions())
    assert (match is not None) is is_one


def test_a_directory_of_such_a_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.keras").mkdir()
    with pytest.raises(NotFound):
        keras_file(tmp_path)
    with pytest.raises(NotFound):
        keras_file(tmp_path / "absent")


def test_a_version_holds_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"^{tmp_path} holds no Keras file$"):
        keras_file(tmp_path)
    (tmp_path / "b.keras").touch()
    (tmp_path / "b.weights.h5").touch()
    assert keras_file(tmp_path) == tmp_path / "b.keras"
    (tmp_path / "a.h5").touch()
    with pytest.raises(FailedPrecondition) as raised:
        keras_file(tmp_path)
    assert raised.value.message == (
        f"{tmp_path} holds more than one Keras file: a.h5, b.keras. Leave the one to be served"
    )


def test_a_whole_file_passes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "model.h5").write_bytes(HDF5 + b"and so on")
    must_be_whole(tmp_path / "model.keras")
    must_be_whole(tmp_path / "model.h5")


@pytest.mark.parametrize(("name", "kind"), [("m.keras", "ZIP archive"), ("m.h5", "HDF5 file")])
@pytest.mark.parametrize("content", [b"", b"text", HDF5[:-1], b"PK\x03\x04cut"])
def test_what_is_cut_or_of_another_format_is_refused(
    name: str, kind: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataLoss) as raised:
        must_be_whole(path)
    assert raised.value.message == (
        f"{path} is no Keras file, or only a part of one: it is not a whole {kind}. "
        "Copy it again, or save the model again"
    )


def test_a_file_that_is_not_there_or_not_ours_is_said_to_be(tmp_path: Path) -> None:
    for look in (must_be_whole, stamp):
        with pytest.raises(NotFound, match="No such file"):
            look(tmp_path / "absent.h5")
    if os.geteuid():
        (tmp_path / "secret.h5").touch(mode=0)
        with pytest.raises(PermissionDenied):
            must_be_whole(tmp_path / "secret.h5")


def test_a_stamp_changes_with_the_file_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.h5").write_bytes(b"1")
    link = tmp_path / "link.h5"
    link.symlink_to(tmp_path / "real.h5")
    before = stamp(link)
    assert stamp(link) == before
    (tmp_path / "real.h5").write_bytes(b"22")
    assert stamp(link) != before
