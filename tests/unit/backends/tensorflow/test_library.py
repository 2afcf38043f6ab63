import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_char_p, c_int, c_void_p
from importlib import invalidate_caches
from pathlib import Path

import pytest

from salver.backends.tensorflow import library as library_module
from salver.backends.tensorflow.library import (
    Buffer,
    Library,
    load_library,
    tensorflow_directory,
)
from salver.errors import Code, FailedPrecondition, NotFound, ServingError
from salver.instruments.installing import install_command

LIBRARY_NAME = "libtensorflow_cc.2.dylib" if sys.platform == "darwin" else "libtensorflow_cc.so.2"
open_afresh: Callable[[], Library] = library_module._open_library.__wrapped__


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only directory from which packages are imported."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)  # another test imported it
    invalidate_caches()
    yield tmp_path
    invalidate_caches()


@pytest.fixture
def package(site: Path) -> Path:
    """A package that calls itself tensorflow."""
    directory = site / "tensorflow"
    directory.mkdir()
    (directory / "__init__.py").write_text("raise AssertionError('never imported')")
    return directory


def test_without_tensorflow_it_says_what_to_install(site: Path) -> None:
    with pytest.raises(FailedPrecondition) as raised:
        open_afresh()
    assert raised.value.message == (
        "Serving a SavedModel needs TensorFlow, which is not installed here. "
        f"Install it with: {install_command('tensorflow')}"
    )


def test_a_module_that_is_no_package_is_no_tensorflow(site: Path) -> None:
    (site / "tensorflow.py").write_text("")
    with pytest.raises(FailedPrecondition, match="which is not installed here"):
        tensorflow_directory()


def test_the_package_is_found_without_being_imported(package: Path) -> None:
    assert tensorflow_directory() == package


def test_a_tensorflow_without_its_library_is_named(package: Path) -> None:
    with pytest.raises(FailedPrecondition) as raised:
        open_afresh()
    assert raised.value.message.startswith(
        f"TensorFlow's library {package / LIBRARY_NAME} cannot be used: "
    )
    assert raised.value.message.endswith(
        f"Install a supported TensorFlow with: {install_command('tensorflow')}"
    )


def test_a_library_that_is_garbage_is_named(package: Path) -> None:
    (package / LIBRARY_NAME).write_bytes(b"garbage")
    with pytest.raises(FailedPrecondition, match=LIBRARY_NAME):
        open_afresh()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a shared object that is always there")
def test_a_library_that_lacks_a_function_is_named(package: Path) -> None:
    math = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libm.so" in line or "libm-" in line
    )
    (package / LIBRARY_NAME).symlink_to(math)
    with pytest.raises(FailedPrecondition, match="TF_Version"):
        open_afresh()


def test_it_is_opened_once_by_however_many_threads(library: Library) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = [pool.submit(load_library) for _ in range(8)]
        assert {done.result() for done in opened} == {library}


def test_without_tensorflow_each_try_says_so(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "_open_library", open_afresh)
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="which is not installed here"):
            load_library()


def test_the_macos_library_is_looked_for_by_its_own_name(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(FailedPrecondition, match=r"libtensorflow_cc\.2\.dylib"):
        open_afresh()


def test_it_knows_its_version(library: Library) -> None:
    assert library.version.split(".")[0] == "2"


def test_a_status_that_is_ok_raises_nothing(library: Library) -> None:
    status = library.quick.TF_NewStatus()
    library.check(status)
    library.quick.TF_DeleteStatus(status)


def test_a_status_becomes_the_error_of_its_code(library: Library) -> None:
    status = library.quick.TF_NewStatus()
    library.long.TF_LoadLibrary(b"/nonexistent.so", status)
    with pytest.raises(NotFound, match=r"^/nonexistent\.so: cannot open shared object file"):
        library.check(status)
    library.quick.TF_DeleteStatus(status)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_canonical_code_survives_tensorflow(library: Library, code: Code) -> None:
    status = library.quick.TF_NewStatus()
    set_status = library.quick.TF_SetStatus
    set_status.argtypes, set_status.restype = (c_void_p, c_int, c_char_p), None
    set_status(status, code, "wörds \udcff".encode(errors="surrogateescape"))
    with pytest.raises(ServingError) as raised:
        library.check(status)
    assert (raised.value.code, raised.value.message) == (code, "wörds \ufffd")
    library.quick.TF_DeleteStatus(status)


def test_a_buffer_keeps_the_bytes_it_points_to() -> None:
    data = b"\0binary\0"
    buffer = Buffer.of(data)
    assert (buffer.length, buffer.keeps, buffer.deallocator) == (8, data, None)


def test_the_library_leaves_openssl_and_the_tensorflow_package_alone(
    library: Library, version_path: Callable[[str], Path]
) -> None:
    # In a process of its own: what it loads before and after the library is the point.
    program = (
        "import hashlib, sys\n"
        "from salver.backends.selection import Selector\n"
        "model = Selector()(sys.argv[1]).load()\n"
        "import ssl\n"
        "ssl.create_default_context()\n"
        "assert not {'tensorflow', 'keras'} & {name.split('.')[0] for name in sys.modules}\n"
        "print(hashlib.new('sha512_256', b'after').hexdigest())\n"
        "print(hashlib.scrypt(b'p', salt=b's', n=2, r=8, p=1).hex())\n"
        "model.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, version_path("half_plus_two")],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        hashlib.new("sha512_256", b"after").hexdigest(),
        hashlib.scrypt(b"p", salt=b"s", n=2, r=8, p=1).hex(),
    ]
