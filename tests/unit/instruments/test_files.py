import ctypes
import errno
import mmap
import os
import sys
from pathlib import Path

import pytest

from salver.errors import Code, NotFound, OutOfRange, ServingError, Unimplemented
from salver.instruments import files
from salver.instruments.files import (
    NotRegular,
    check_regular,
    drop_from_cache,
    error_of_os,
    footprint,
    list_names,
    local_path,
    open_regular,
    read_regular,
    require_path,
    scheme_of,
)


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (errno.ENOENT, Code.NOT_FOUND, "/x; No such file or directory"),
        (errno.EACCES, Code.PERMISSION_DENIED, "/x; Permission denied"),
        (errno.ENOTDIR, Code.FAILED_PRECONDITION, "/x; Not a directory"),
        (errno.EIO, Code.UNKNOWN, "/x; Input/output error"),
        (errno.EXDEV, Code.UNKNOWN, "/x; Invalid cross-device link"),
    ],
)
def test_system_errors_have_the_code_and_text_tensorflow_gives_them(
    number: int, code: Code, text: str
) -> None:
    error = error_of_os("/x", OSError(number, os.strerror(number)))
    assert (error.code, error.message) == (code, text)


def test_a_system_error_without_a_number_is_unknown() -> None:
    error = error_of_os("/x", OSError("odd"))
    assert (error.code, error.message) == (Code.UNKNOWN, "/x; odd")


def test_paths_and_file_uris_mean_local_paths() -> None:
    assert local_path("/models/m") == "/models/m"
    assert local_path("file:///models/m") == "/models/m"


def test_a_uri_of_a_scheme_nobody_serves_says_so() -> None:
    with pytest.raises(Unimplemented) as raised:
        local_path("s3://bucket/m")
    assert raised.value.message == (
        "File system scheme 's3' not implemented (file: 's3://bucket/m')"
    )


@pytest.mark.parametrize(
    ("path", "scheme"),
    [("/m", ""), ("m", ""), ("file:///m", ""), ("S3://b/m", "s3"), ("FILE:///m", "file")],
)
def test_the_scheme_of_a_path_is_told_in_small_letters(path: str, scheme: str) -> None:
    assert scheme_of(path) == scheme


def test_what_nobody_can_look_at_is_told_with_how_to_copy_it() -> None:
    for uri, how in (
        ("s3://b/m", "aws s3 cp --recursive s3://b/m DIRECTORY."),
        ("GS://b/m", "gcloud storage cp --recursive GS://b/m DIRECTORY."),
        ("odd://b/m", "or mount the store, and serve that."),
    ):
        with pytest.raises(Unimplemented) as raised:
            local_path(uri)
        assert raised.value.hint is not None
        assert raised.value.hint.endswith(how)


def test_a_path_that_must_exist_and_does_not_is_not_found(tmp_path: Path) -> None:
    assert require_path(f"file://{tmp_path}") == str(tmp_path)
    with pytest.raises(NotFound, match=r"^/nowhere/m not found$"):
        require_path("/nowhere/m")


def test_names_of_a_directory_are_listed(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    assert list_names(str(tmp_path)) == ["1"]
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match=r"file; Not a directory$"):
        list_names(str(tmp_path / "file"))


def test_footprint_counts_and_adds_up_files_below_a_directory(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"12345")
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"123")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    found = footprint(str(tmp_path))
    assert found.num_files == 4
    assert found.size_bytes >= 8
    assert found == footprint(str(tmp_path))


def test_footprint_changes_with_contents_permissions_and_replacement(tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    file = version / "saved_model.pb"
    seen = {footprint(str(version))}
    file.write_bytes(b"1")
    seen.add(footprint(str(version)))
    file.write_bytes(b"12")
    seen.add(footprint(str(version)))
    version.rename(tmp_path / "old")
    version.mkdir()
    (version / "saved_model.pb").write_bytes(b"12")
    seen.add(footprint(str(version)))
    assert len(seen) == 4


def test_footprint_of_what_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "7").touch()
    with pytest.raises(ServingError) as raised:
        footprint(str(tmp_path / "7"))
    assert raised.value.status == f"FAILED_PRECONDITION: {tmp_path / '7'}; Not a directory"
    with pytest.raises(NotFound):
        footprint(str(tmp_path / "8"))


def cached_pages(path: Path) -> int:
    """How many pages of a file the system holds in memory."""
    system = ctypes.CDLL(None, use_errno=True)
    system.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as mapped:
        view = ctypes.c_char.from_buffer(mapped)
        pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
        failed = system.mincore(ctypes.addressof(view), size, pages)
        del view
    assert not failed
    return sum(page[0] & 1 for page in pages)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_files_below_a_directory_leave_the_cache(tmp_path: Path) -> None:
    deep = tmp_path / "variables"
    deep.mkdir()
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    file = deep / "data"
    with file.open("wb") as out:
        out.write(os.urandom(1 << 20))
        os.fsync(out.fileno())
    file.read_bytes()
    if cached_pages(file) == 0:
        pytest.skip("this file system keeps no files in memory")
    drop_from_cache(str(tmp_path))
    if cached_pages(file) == (1 << 20) // mmap.PAGESIZE:
        pytest.skip("this file system keeps its files in memory whatever is said")
    assert cached_pages(file) == 0


def test_where_the_system_has_no_such_call_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_advise", None)
    drop_from_cache(str(tmp_path))


def test_every_file_is_named_to_the_system_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"x")
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    inodes: list[int] = []

    def advise(descriptor: int, start: int, length: int, advice: int) -> None:
        assert (start, length) == (0, 0)
        inodes.append(os.fstat(descriptor).st_ino)
        raise OSError(errno.ESPIPE, "Illegal seek")

    monkeypatch.setattr(files, "_advise", advise)
    drop_from_cache(str(tmp_path))
    assert sorted(inodes) == sorted(p.stat().st_ino for p in tmp_path.rglob("*") if p.is_file())


def test_a_regular_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"12345"
    assert read_regular(str(tmp_path / "link"), 5) == b"12345"
    with open_regular(tmp_path / "link") as file:
        assert not os.get_inheritable(file.fileno())


def test_a_file_may_have_so_many_bytes_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    with pytest.raises(OutOfRange) as raised:
        read_regular(path, 4)
    assert raised.value.message == f"{path}; File too large: more than 4 bytes"


def test_pipes_and_devices_are_refused_without_being_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind, is_pipe in ((str(pipe), "a pipe", True), ("/dev/null", "a device", False)):
        with pytest.raises(NotRegular) as raised:
            check_regular(path)
        assert raised.value.status == (
            f"FAILED_PRECONDITION: {path}; Is {kind}, not a regular file"
        )
        assert raised.value.is_pipe is is_pipe


def test_a_directory_and_nothing_are_what_the_system_says_they_are(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as of_directory:
        open_regular(tmp_path)
    assert error_of_os("/x", of_directory.value).message == "/x; Is a directory"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


def test_a_file_that_becomes_a_pipe_just_before_it_is_opened_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()
    look = check_regular

    def look_and_change(path: Path) -> None:
        look(path)
        path.unlink()
        os.mkfifo(path)

    monkeypatch.setattr(files, "check_regular", look_and_change)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(NotRegular, match="Is a pipe"):
        open_regular(path)
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) == before
