"""`salver warmup`: makes the file a version is warmed up with, and shows what is in one."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from salver.cli.locate import Located, locate_version
from salver.cli.printing import print_lines
from salver.codecs.protobuf.prediction_log import decode_prediction_log
from salver.errors import DataLoss, Internal, InvalidArgument, NotFound, ServingError
from salver.instruments.files import OsErrorsOf
from salver.warmup.making import Made, Method, Target, default_records, record_of_body
from salver.warmup.replay import REQUESTS_FILE
from salver.warmup.showing import describe, document
from salver.warmup.storing import read_file, write_file
from salver.warmup.targets import target_of

__all__ = ["make_parser", "warmup"]

_DESCRIPTION = """\
A server replays the requests of a version's warmup file before the version serves anybody.
"""
_MAKE = """\
Write assets.extra/tf_serving_warmup_requests into a version. The requests are those of FILE, as
the REST API takes them: one JSON object, or one per line where its name ends in .jsonl. Without
--from one is made for each signature, of zeros and empty strings.
"""


def warmup(arguments: Sequence[str]) -> int:
    """Run `salver warmup ARGUMENTS`; returns its exit status.

    Raises:
        ServingError: it failed; what was there before is there still.
    """
    try:
        asked = make_parser().parse_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    if asked.action == "make":
        _make(asked)
    else:
        _show(asked)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="salver warmup", description=_DESCRIPTION, allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|show")
    make = actions.add_parser("make", help="write a warmup file", description=_MAKE)
    make.add_argument(
        "path", type=Path, metavar="MODEL_DIR", help="a version, or a model for its newest version"
    )
    make.add_argument("--from", type=Path, dest="source", metavar="FILE", help="requests in JSON")
    make.add_argument("--signature", default="", metavar="NAME", help="of all these requests")
    make.add_argument(
        "--method", default="auto", choices=["predict", "classify", "regress", "auto"]
    )
    make.add_argument("--name", metavar="MODEL", help="the model's name in the records")
    make.add_argument("--output", type=Path, metavar="FILE", help="write this file instead")
    when_there = make.add_mutually_exclusive_group()
    when_there.add_argument("--append", action="store_true", help="add to the file that is there")
    when_there.add_argument("--force", action="store_true", help="replace the file that is there")
    show = actions.add_parser(
        "show", help="print a warmup file", description="Print a warmup file or a request log."
    )
    show.add_argument(
        "path", type=Path, metavar="PATH", help="a file, a version, or a model for its newest one"
    )
    show.add_argument(
        "--json", action="store_true", help="one record a line, whole; what --from takes"
    )
    return parser


# -- make ------------------------------------------------------------------------------------------


def _make(asked: argparse.Namespace) -> None:
    located = locate_version(asked.path)
    target = _target(asked.name or _model_name(located), located)
    if asked.source is None:
        made = default_records(target, signature_name=asked.signature, method=asked.method)
        records = list(_noted(made))
    else:
        records = list(_noted(_made_of_file(asked.source, target, asked.signature, asked.method)))
    if not records:
        raise InvalidArgument(f"No request can be made for {located.path}.")
    path = asked.output or located.path / REQUESTS_FILE
    count = write_file(path, records, is_appended=asked.append, is_forced=asked.force)
    total = f", which has {count} now" if count > len(records) else ""
    print(f"{_counted(len(records))} written to {path}{total}.")


def _target(model_name: str, located: Located) -> Target:
    with located.to_read() as (found, *_):
        return target_of(found, model_name, may_convert=True)


def _model_name(located: Located) -> str:
    """The name the directories give it: of a version, that of the one above."""
    path = located.path.absolute()
    return path.name if located.version is None else path.parent.name


def _made_of_file(
    source: Path, target: Target, signature_name: str, method: Method
) -> Iterator[tuple[str, Made]]:
    for where, body in _bodies(source):
        try:
            made = record_of_body(body, target, signature_name=signature_name, method=method)
        except ServingError as error:
            error.message = f"{where}: {error.message}"
            raise
        yield where, made


def _bodies(source: Path) -> Iterator[tuple[str, bytes]]:
    """Each request in a file, and where it stands."""
    with OsErrorsOf(source):
        data = source.read_bytes()
    if source.suffix != ".jsonl":
        yield str(source), data
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield f"{source}:{number}", line


def _noted(made: Iterable[tuple[str, Made]]) -> Iterator[bytes]:
    """The records; what is doubtful about them is said."""
    for where, result in made:
        if result.doubt:
            left_out = " left out:" if result.record is None else ""
            print(f"salver: warning: {where}:{left_out} {result.doubt}", file=sys.stderr)
        if result.record is not None:
            yield result.record


def _counted(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"


# -- show ------------------------------------------------------------------------------------------


def _show(asked: argparse.Namespace) -> None:
    path = _file_at(asked.path)
    print_lines(_lines(path, is_json=asked.json))


def _file_at(path: Path) -> Path:
    if not path.is_dir():
        return path
    located = locate_version(path)
    found = located.path / REQUESTS_FILE
    if not found.exists():
        raise NotFound(f"{located.path} has no warmup file.", hint="salver warmup make writes one.")
    return found


def _lines(path: Path, *, is_json: bool) -> Iterator[str]:
    count = 0
    for count, record in enumerate(read_file(path), 1):
        first, *more = _record_lines(record, f"{path}: record {count}", is_json=is_json)
        yield first if is_json else f"record {count}: {first}"
        yield from more
    if not is_json:
        yield f"{_counted(count)} in {path}"


def _record_lines(record: bytes, where: str, *, is_json: bool) -> list[str]:
    try:
        logged = decode_prediction_log(record)
        if is_json:
            text = json.dumps({} if logged is None else document(logged), ensure_ascii=False)
            return [text]
        lines = ["empty, skipped by a warmup"] if logged is None else list(describe(logged))
    except (Internal, InvalidArgument) as error:
        raise DataLoss(f"{where}: {error.message}") from None
    return lines
