from pathlib import Path

import pytest

from salver.backends.installed import InstalledLibrary, InstalledModule
from salver.errors import NotInstalled


def _library(
    package: str, opened: list[Path], *, error: Exception | None = None
) -> "InstalledLibrary[Path]":
    def make(path: Path) -> Path:
        if error is not None:
            raise error
        opened.append(path)
        return path

    return InstalledLibrary(
        *(package, make), title="Lib", model="a model", extra="lib", find=lambda of: of / "lib.so"
    )


def test_a_library_is_located_in_its_package_and_opened_once() -> None:
    opened: list[Path] = []
    library = _library("email", opened)
    path = library.require()
    assert path.parts[-2:] == ("email", "lib.so")
    assert not opened
    assert library.load() is library.load()
    assert opened == [path]


def test_a_library_that_is_not_there_says_what_to_install() -> None:
    for ask in (_library("no_such_package", []).require, _library("no_such_package", []).load):
        with pytest.raises(NotInstalled, match=r"Serving a model needs Lib, .*\[lib\]"):
            ask()


def test_a_library_that_cannot_be_used_says_why_and_is_tried_again() -> None:
    library = _library("email", [], error=OSError("too old"))
    for _ in range(2):
        with pytest.raises(NotInstalled, match=r"Lib's library .*lib.so cannot be used: too old"):
            library.load()


def test_a_module_is_imported_when_it_is_loaded() -> None:
    module = InstalledModule("email.policy", title="Mail", model="a letter", extra="mail")
    module.require()
    assert module.load().__name__ == "email.policy"


def test_a_module_that_is_not_there_says_what_to_install() -> None:
    module = InstalledModule("no_such_package.x", title="Mail", model="a letter", extra="mail")
    for ask in (module.require, module.load):
        with pytest.raises(NotInstalled, match=r"Serving a letter needs Mail, .*\[mail\]"):
            ask()


def test_a_module_that_lacks_another_is_not_said_to_be_absent() -> None:
    module = InstalledModule("email.no_such_part", title="Mail", model="a letter", extra="mail")
    with pytest.raises(NotInstalled, match="Mail cannot be used"):
        module.load()
