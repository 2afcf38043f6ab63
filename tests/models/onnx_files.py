"""Make base paths of ONNX models for tests that are shared.

    python tests/models/onnx_files.py OUT

writes `OUT/<name>/1/model.onnx`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CANNOT = 77


def main(out: Path) -> None:
    if find_spec("onnx") is None:
        sys.stdout.write("the package onnx is not installed\n")
        sys.exit(CANNOT)
    sys.path.insert(0, str(ROOT))
    from tests import onnx_models

    for name, make in {
        "onnx_half_plus_two": onnx_models.half_plus_two,
        "onnx_several": onnx_models.several,
    }.items():
        onnx_models.save(make(), out / name / "1")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
