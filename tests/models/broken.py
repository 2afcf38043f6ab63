"""Make directories that look like versions and cannot be loaded. Needs no TensorFlow.

    python tests/models/broken.py OUT

writes `OUT/<name>/1`.
"""

import sys
from pathlib import Path

GARBAGE = bytes(range(256)) * 8

FILES: dict[str, dict[str, bytes]] = {
    "legacy_bundle": {"export.meta": b"", "export-00000-of-00001": b"", "checkpoint": b""},
    "corrupt_pb": {"saved_model.pb": GARBAGE},
    "empty_pb": {"saved_model.pb": b""},
    "no_pb": {"variables/variables.index": b"", "assets/foo.txt": b"asset-file-contents"},
    "empty_directory": {},
}


def main(out: Path) -> None:
    for name, files in FILES.items():
        version = out / name / "1"
        version.mkdir(parents=True)
        for path, contents in files.items():
            file = version / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(contents)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
