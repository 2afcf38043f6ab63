import importlib
from pathlib import Path

import pytest
from tests.models.pt2 import members, write

from salver.backends.protocol import Listing, LoadStage
from salver.backends.pytorch.backend import PyTorchBackend
from salver.backends.pytorch.options import PyTorchOptions
from salver.errors import FailedPrecondition, NotFound, NotInstalled

BACKEND = PyTorchBackend()
OPTIONS = PyTorchOptions()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model.pt2"], "model.pt2"),
        (["net.pt2"], "net.pt2"),
        (["model.pt"], "model.pt"),
        (["net.pt", "model.pt2"], "model.pt2"),
        (["a.pt2", "b.pt2", "model.pt2"], "model.pt2"),
        (["a.pt2", "b.pt2"], None),
        (["net.pth"], None),
        ([], None),
    ],
)
def test_exported_programs_go_before_torchscript(
    names: list[str], found: str | None, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    match = BACKEND.detect(Listing.of(tmp_path), OPTIONS)
    assert (match and list(match.files)) == (None if found is None else [found])


def test_every_file_of_pytorch_is_code(tmp_path: Path) -> None:
    for name, stored_as in (("a.pt2", "model.pt2"), ("a.pt", "model.pt")):
        (tmp_path / name).touch()
        match = BACKEND.detect(Listing.of(tmp_path / name), OPTIONS)
        assert match is not None
        assert match.stored_as == stored_as
        assert match.runs_code
    assert BACKEND.capabilities.needs_process


def test_a_program_is_known_without_pytorch_and_without_a_load(tmp_path: Path) -> None:
    write(tmp_path / "net.pt2", members())
    info = BACKEND.inspect(tmp_path, OPTIONS)
    assert info is not None
    assert info.signatures["serving_default"].inputs["x"].shape == (-1, 2)
    assert info.footprint_bytes == (tmp_path / "net.pt2").stat().st_size


def test_torchscript_tells_nothing_before_a_load(tmp_path: Path) -> None:
    write(tmp_path / "net.pt", {"code/__torch__.py": b"", "constants.pkl": b"", "data.pkl": b""})
    assert BACKEND.inspect(tmp_path, OPTIONS) is None


def test_weights_are_no_program(tmp_path: Path) -> None:
    write(tmp_path / "net.pt", {"data.pkl": b"", "data/0": b""})
    with pytest.raises(FailedPrecondition, match="holds pickled objects") as caught:
        BACKEND.inspect(tmp_path, OPTIONS)
    assert "torch.export.save" in (caught.value.hint or "")


def test_an_archive_of_something_else_is_no_program(tmp_path: Path) -> None:
    write(tmp_path / "net.pt2", {"archive_format": b"pt2"})
    with pytest.raises(FailedPrecondition, match="holds no exported program"):
        BACKEND.inspect(tmp_path, OPTIONS)


def test_without_a_file_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no file of PyTorch"):
        BACKEND.inspect(tmp_path, OPTIONS)


def test_without_pytorch_a_load_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(_name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(importlib, "import_module", find)
    write(tmp_path / "net.pt2", members())
    for attempt in (
        BACKEND.require,
        BACKEND.prepare,
        lambda: BACKEND.load(tmp_path, OPTIONS, LoadStage()),
    ):
        with pytest.raises(NotInstalled, match=r"needs PyTorch, which is not installed .*pytorch"):
            attempt()


@pytest.mark.parametrize(
    "error", [ImportError("cannot import"), OSError("libtorch.so: no such symbol")]
)
def test_a_pytorch_that_cannot_be_opened_is_said_to_be_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(NotInstalled, match=f"PyTorch cannot be used: {error}"):
        BACKEND.prepare()
