"""Check that each module is covered by its own tests alone.

Coverage reached only by way of some other module's tests hides behaviour nobody wrote down. Each
`src/salver/a/b.py` is measured while running nothing but `tests/unit/a/test_b.py`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "salver"
TESTS = ROOT / "tests" / "unit"


def percent(module: Path, test: Path) -> float:
    """Branch coverage of `module` under `test`, 0 to 100."""
    with tempfile.TemporaryDirectory() as where:
        data, report = Path(where, "data"), Path(where, "report.json")
        coverage = [sys.executable, "-m", "coverage"]
        subprocess.run(
            [
                *coverage,
                "run",
                f"--data-file={data}",
                "-m",
                "pytest",
                "-q",
                test,
            ],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        subprocess.run(
            [*coverage, "json", "-q", f"--data-file={data}", f"--include={module}", "-o", report],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return float(json.loads(report.read_text())["totals"]["percent_covered"])


def main() -> int:
    failed = False
    for module in sorted(SOURCES.rglob("*.py")):
        inside = module.relative_to(SOURCES)
        if module.name.startswith("__") or "_pb" in inside.parts:
            continue
        test = TESTS / inside.parent / f"test_{inside.name}"
        covered = percent(module, test) if test.exists() else 0.0
        failed |= covered < 100
        print(f"{covered:6.1f}%  {inside}" + ("" if test.exists() else "  (no tests of its own)"))
    return failed


if __name__ == "__main__":
    sys.exit(main())
