"""`salver cache`: what is kept of fetched versions and converted files, and its removal."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from salver.cli.printing import print_lines
from salver.errors import NotFound, ServingError
from salver.instruments.cache import Cache, Entry
from salver.sources.records import Record, read_record
from salver.sources.verification import Verification

__all__ = ["cache_command", "make_parser"]

_DONE: Final = 0
_WRONG: Final = 1

_DESCRIPTION = """\
Look at the model cache, where fetched versions and converted Keras files are kept, and remove what
is not needed. What a server uses stays.
"""
_EPILOG = """\
WHAT is a key that ls prints, or its beginning; the URI of a version; or that of a base path, for
all of its versions. verify compares names and sizes of files with those that were fetched, and
their sums where a version brings SHA256SUMS. The exit status is 1 where something is damaged, or
could not be removed.
"""


def cache_command(arguments: Sequence[str]) -> int:
    """Run `salver cache ARGUMENTS`; returns its exit status.

    Raises:
        ServingError: the cache cannot be read.
    """
    try:
        asked = make_parser().parse_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    cache = Cache(asked.model_cache)
    found = [(entry, read_record(entry.path)) for entry in cache.entries()]
    if asked.verb == "ls":
        print_lines(_listed(found))
        return _DONE
    if asked.what:
        found = _chosen(found, asked.what)
    if asked.verb == "verify":
        return _verify(cache, found)
    if not asked.what and not asked.all:
        print("salver cache rm: name what is to go, or --all", file=sys.stderr)
        return 2
    return _remove(cache, found)


def make_parser() -> argparse.ArgumentParser:
    """What the arguments are."""
    parser = argparse.ArgumentParser(
        prog="salver cache",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="ls|rm|verify")
    helps = {
        "ls": "list what is kept, what was used last coming first",
        "rm": "remove what is named, or left by half",
        "verify": "compare what is kept with what was fetched",
    }
    for verb, text in helps.items():
        of = verbs.add_parser(verb, help=text, description=text, allow_abbrev=False)
        of.add_argument(
            "--model_cache",
            metavar="DIR",
            default="",
            help="the cache; by default ~/.cache/salver, as for a server",
        )
        if verb != "ls":
            of.add_argument("what", nargs="*", metavar="WHAT", help="by default all of it")
        if verb == "rm":
            of.add_argument("--all", action="store_true", help="remove all that is not in use")
    return parser


def _chosen(
    found: Iterable[tuple[Entry, Record | None]], wanted: Sequence[str]
) -> list[tuple[Entry, Record | None]]:
    chosen: dict[str, tuple[Entry, Record | None]] = {}
    listed = list(found)
    for text in wanted:
        matching = [each for each in listed if _is_meant(text, *each)]
        if not matching:
            raise NotFound(f"Nothing is kept of {text}")
        chosen |= {entry.key: (entry, record) for entry, record in matching}
    return list(chosen.values())


def _is_meant(text: str, entry: Entry, record: Record | None) -> bool:
    if "/" not in text:
        return bool(text) and entry.key.startswith(text)
    places = () if record is None else (record.location, record.base_path)
    return text.rstrip("/") in [place.rstrip("/") for place in places]


def _listed(found: Sequence[tuple[Entry, Record | None]]) -> list[str]:
    lines = [
        f"{entry.key:<32}  {_size(entry.size_bytes):>8}  {_when(entry.used_s)}  "
        f"{_state(entry):<7}  {_what(entry, record)}"
        for entry, record in found
    ]
    total = _size(sum(entry.size_bytes for entry, _ in found))
    head = f"{'KEY':<32}  {'SIZE':>8}  {'LAST USED':<16}  {'STATE':<7}  WHAT"
    return [head, *lines, f"{len(found)} kept, {total}"] if found else ["Nothing is kept"]


def _state(entry: Entry) -> str:
    if not entry.is_whole:
        return "partial"
    return "in use" if entry.is_in_use else ""


def _what(entry: Entry, record: Record | None) -> str:
    if record is not None:
        return record.location
    return "a converted Keras file" if entry.is_whole else "being made, or left by half"


def _verify(cache: Cache, found: Iterable[tuple[Entry, Record | None]]) -> int:
    """Print a line for each that was fetched; 1 where one is damaged."""
    status = _DONE
    for entry, record in found:
        if record is None or not entry.is_whole:
            continue
        held = cache.use(entry.key)
        if held is None:
            continue
        try:
            how = _compared(held.path, record)
        except ServingError as error:
            status = _WRONG
            print(f"{record.location}: DAMAGED: {error.message}", flush=True)
        else:
            print(f"{record.location}: {how}", flush=True)
        finally:
            held.close(is_used=False)
    return status


def _compared(entry: Path, record: Record) -> str:
    directory = entry / str(record.number)
    record.check(directory)
    has_sums = Verification().check(str(directory), record.location, lambda: None)
    return "sums are right" if has_sums else "names and sizes are right; it brings no sums"


def _remove(cache: Cache, found: Iterable[tuple[Entry, Record | None]]) -> int:
    status = _DONE
    for entry, record in found:
        if cache.remove(entry.key):
            print(f"Removed {_what(entry, record)}")
        else:
            status = _WRONG
            print(f"salver: {_what(entry, record)} is in use, and stays", file=sys.stderr)
    return status


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _size(size_bytes: int) -> str:
    for unit_bytes, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.3g} {unit}"
    return f"{size_bytes} B"
