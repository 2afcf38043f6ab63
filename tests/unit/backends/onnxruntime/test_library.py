"""The C API of the installed package."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from salver.backends.onnxruntime import library as module
from salver.backends.onnxruntime.library import load_library, require_library
from salver.errors import Code, NotInstalled
from salver.instruments.installing import install_command


def test_it_is_opened_once_and_says_its_version() -> None:
    from importlib import metadata

    library = load_library()
    assert load_library() is library
    assert library.version == metadata.version("onnxruntime")


def test_a_failure_has_a_code_and_the_text_of_onnx_runtime() -> None:
    library = load_library()
    with pytest.raises(Exception, match="type 99 is not supported") as raised:
        library.made(
            library.quick.CreateTensorWithDataAsOrtValue,
            *(library.cpu, 0, 4, None, 0, 99),
        )
    assert getattr(raised.value, "code", None) in set(Code)


def _without(name: str, spec: Any) -> Any:
    def find(wanted: str, package: str | None = None) -> Any:
        return spec if wanted == name else find_spec(wanted, package)

    return find


def test_where_it_is_missing_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", _without("onnxruntime", None))
    with pytest.raises(NotInstalled) as raised:
        require_library()
    assert raised.value.message == (
        "Serving an ONNX model needs ONNX Runtime, which is not installed here. Install it with: "
        + install_command("onnxruntime")
    )


def test_a_package_without_the_library_is_said_to_be_too_old(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_shared.so").touch()

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr("importlib.util.find_spec", _without("onnxruntime", Spec))
    with pytest.raises(NotInstalled, match=r"no C library, as those before 1\.19"):
        require_library()
    (tmp_path / "capi" / "libonnxruntime.so.1.2.3").write_bytes(b"no library")
    require_library()
    monkeypatch.setattr(module, "_open_library", module._open_library.__wrapped__)
    with pytest.raises(NotInstalled, match="cannot be used"):
        load_library()
