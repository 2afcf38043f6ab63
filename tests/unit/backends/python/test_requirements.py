from pathlib import Path

import pytest

from salver.backends.python.requirements import check_requirements
from salver.errors import FailedPrecondition


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requirements.txt"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n",
        "numpy\n",
        "numpy>=1.20  # of whatever kind\n",
        "NumPy >= 1.20, != 1.21 \\\n  --hash=sha256:00\n",
        "-i https://example.com/simple\n--no-binary :all:\n-e .\nnumpy\n",
        'nothing-like-this; python_version < "3"\n',
        "httpx[http2]\n",  # which adds h2
        "numpy @ https://example.com/numpy.whl\n",
    ],
)
def test_what_is_there_is_no_matter(path: Path, text: str) -> None:
    path.write_text(text)
    check_requirements(path)


def test_a_model_needs_no_such_file(path: Path) -> None:
    check_requirements(path)


def test_all_that_is_missing_is_named_at_once(path: Path) -> None:
    path.write_text("nothing-like-this>=2\nnumpy<1\nnumpy\nneither_this[with]\n")
    with pytest.raises(FailedPrecondition) as caught:
        check_requirements(path)
    said = caught.value.message
    assert said.startswith(
        f"{path} asks for what is not installed: nothing-like-this>=2 (not installed), numpy<1 ("
    )
    assert said.endswith(" is installed), neither_this (not installed)")
    assert caught.value.hint == f"pip install -r {path}"
    assert caught.value.is_final


def test_extras_bring_requirements_of_their_own(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "thing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nProvides-Extra: more\n"
        "Requires-Dist: not-looked-at\n"
        'Requires-Dist: nothing-like-this>=1; extra == "more"\n'
        'Requires-Dist: thing[more]; extra == "more"\n'
    )
    monkeypatch.syspath_prepend(str(info.parent))
    path.write_text("thing\n")
    check_requirements(path)
    path.write_text("thing[more]\n")
    with pytest.raises(FailedPrecondition, match="nothing-like-this>=1"):
        check_requirements(path)


def test_other_files_are_read_too(path: Path) -> None:
    path.write_text("-r more.txt\n")
    (path.parent / "more.txt").write_text("nothing-like-this\n")
    with pytest.raises(FailedPrecondition, match="nothing-like-this"):
        check_requirements(path)
    (path.parent / "more.txt").write_text("-r requirements.txt\nnumpy\n")
    check_requirements(path)


def test_a_line_that_names_no_package_is_named(path: Path) -> None:
    path.write_text("numpy\n!!\n")
    with pytest.raises(FailedPrecondition, match=r"requirements.txt, line 2 names no package: !!"):
        check_requirements(path)


def test_a_file_that_is_too_long_is_refused(path: Path) -> None:
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(FailedPrecondition, match="more than"):
        check_requirements(path)
