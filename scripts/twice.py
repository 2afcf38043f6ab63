"""pytest with the arguments given; the tests that failed, if few, once more by themselves.

    python scripts/twice.py -n 2 tests/unit

A test whose neighbours take the processors for seconds may fail for that alone. Here it gets a
second run with nothing beside it, and is named when it passes: it is to be mended all the same. A
fault of the code fails both times. The exit status is that of pytest.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

FEW = 5
TESTS_FAILED = 1  # an exit status of pytest


def run(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def failed_in(report: Path) -> list[str]:
    """The tests that failed: `tests/unit/test_a.py::TestB::test_c[d]`.

    Args:
        report: of the family xunit1, which names files.
    """
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is None and case.find("error") is None:
            continue
        file, classes = case.get("file", ""), case.get("classname", "")
        inner = classes.removeprefix(file.removesuffix(".py").replace("/", ".")).strip(".")
        found.append(
            "::".join(part for part in (file, *inner.split("."), case.get("name")) if part)
        )
    return list(dict.fromkeys(found))


def main(arguments: list[str]) -> int:
    with TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        status = run(f"--junit-xml={report}", "-o", "junit_family=xunit1", *arguments)
        failed = failed_in(report) if status == TESTS_FAILED and report.exists() else []
    if not 0 < len(failed) <= FEW:
        return status
    print(f"twice: once more, by themselves: {' '.join(failed)}", flush=True)
    if again := run("-p", "no:cacheprovider", *failed):
        return again
    print("twice: these passed by themselves only; mend them:", *failed, sep="\n    ", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
