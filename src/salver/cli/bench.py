"""`salver bench`: puts load on a server, and says how it bears it."""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from salver.bench.picture import picture
from salver.bench.preparing import Asked, Method, Target, prepare
from salver.bench.results import Level, Report
from salver.bench.terminal import report_lines
from salver.bench.turns import Plan, Progress, run_plan
from salver.cli.key_file import add_key_file, headers_of_key_file
from salver.cli.printing import print_lines
from salver.client.blocking import Protocol
from salver.client.exchange import Which
from salver.errors import InvalidArgument, ServingError
from salver.instruments.files import OsErrorsOf

__all__ = ["bench", "make_parser"]

_FAILED: Final = 1
_INTERRUPTED: Final = 130  # as a shell sees a process that SIGINT ended
_OPEN_CLIENTS: Final = 256
_MOST_RATE: Final = 1e6  # requests a second
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_Change = Callable[[Asked], Asked]
_DESCRIPTION: Final = """\
Put load on a model and measure rate and latencies. Without --rate so many clients each ask again
once they have an answer (closed loop); with it requests come at their times whatever the server
does, and latencies count from those times (open loop). Requests are random, made from the model's
signature, or those of --input. With --against… several servers or versions take turns in one run.
"""
_EPILOG: Final = """\
URL is http://host:port for REST; grpc://host:port, host:port or unix:path for gRPC. The exit status
is 0 when all requests were answered, 1 when some failed or there was nothing to measure, 2 for a
command misused, 130 after Ctrl-C.
"""


def bench(arguments: Sequence[str]) -> int:
    """Run `salver bench ARGUMENTS`; returns its exit status.

    Raises:
        ServingError: there is nothing to measure, and why.
    """
    parser = make_parser()
    try:
        asked = parser.parse_args(arguments)
        if asked.input and asked.rows is not None:
            parser.error("--rows is for random requests; --input says what is sent")
        if asked.plot and asked.plot.suffix.lower() != ".svg":
            parser.error(f"--plot writes SVG, which every browser shows: {asked.plot.stem}.svg")
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    _check_writable(asked.output, asked.plot)
    report = Report()
    targets = _told_apart([prepare(one) for one in _asked(asked)])
    watch = _ProgressLine()
    stop = asyncio.Event()
    failure = None
    try:
        _run(run_plan(_plan(asked), targets, stop, watch, report), stop)
    except ServingError as error:  # what was measured until then is shown
        failure = error
    finally:
        watch.clear()
    if asked.output:
        document = json.dumps(report.document(), indent=2, ensure_ascii=False) + "\n"
        _write(asked.output, document)
    if asked.plot:
        _write(asked.plot, picture(report, f"salver bench {asked.model}"))
    is_ascii = asked.ascii or not _speaks_utf8()
    print_lines(report_lines(report, shutil.get_terminal_size().columns, is_ascii=is_ascii))
    if failure is not None:
        raise failure
    if stop.is_set():
        return _INTERRUPTED
    return _FAILED if any(measured.total.failed for measured in report.all) else 0


def _run(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Run it in a loop of uvloop's, in which Ctrl-C sets the event."""
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        with suppress(ValueError, RuntimeError):  # signals are the main thread's
            loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.run_until_complete(work)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _asked(asked: argparse.Namespace) -> list[Asked]:
    """The target that is named, and those it is compared with."""
    first = Asked(
        url=asked.url,
        which=Which(asked.model, asked.version, asked.label),
        protocol=asked.protocol,
        form=asked.form,
        signature=asked.signature,
        method=cast("Method", asked.method),
        bodies=_bodies(asked.input) if asked.input else (),
        rows=asked.rows or 1,
        timeout_s=asked.timeout,
        ca=asked.ca,
        headers=headers_of_key_file(asked.api_key_file),
    )
    made: Sequence[_Change] = asked.against or ()
    return [first, *[make(first) for make in made]]


def _told_apart(targets: Sequence[Target]) -> list[Target]:
    """A target may be compared with itself, which shows how much figures differ by chance."""
    names = [target.name for target in targets]
    return [
        replace(target, name=f"{target.name} ({names[: at + 1].count(target.name)})")
        if names.count(target.name) > 1
        else target
        for at, target in enumerate(targets)
    ]


def _plan(asked: argparse.Namespace) -> Plan:
    if asked.rate is not None:
        most = max(asked.concurrency) if asked.concurrency else _OPEN_CLIENTS
        levels = tuple([Level(most, rate) for rate in asked.rate])
    else:
        levels = tuple([Level(clients) for clients in asked.concurrency or (1, 4, 16)])
    return Plan(levels, asked.duration, asked.warmup, asked.turns, asked.timeout)


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="salver bench", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False
    )
    parser.add_argument("url", metavar="URL", help="the server")
    parser.add_argument("model", metavar="MODEL", help="the name it knows the model by")
    _add_request(parser)
    _add_load(parser)
    _add_rivals(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all of it as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw a picture")
    parser.add_argument("--ascii", action="store_true", help="print nothing but ASCII")
    return parser


def _add_request(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="ask this version")
    which.add_argument("--label", metavar="L", help="ask the version of this label")
    parser.add_argument("--signature", metavar="S", help="ask this signature (serving_default)")
    parser.add_argument(
        "--protocol",
        default="tfs",
        choices=["tfs", "v2"],
        help="TensorFlow Serving's API (tfs), or the Open Inference Protocol",
    )
    parser.add_argument(
        "--form",
        default="auto",
        choices=["auto", "json", "binary"],
        help="of tensors over REST by --protocol v2; auto: small ones as JSON",
    )
    parser.add_argument(
        "--method", default="auto", choices=["auto", "predict", "classify", "regress"]
    )
    parser.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="a request as REST takes it, or one per line where the name ends in .jsonl",
    )
    parser.add_argument("--rows", type=_count, metavar="N", help="of a random request (1)")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust")
    add_key_file(parser)


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--concurrency",
        type=_listed(_count),
        metavar="N,…",
        help="clients at the same time, one level after the other (1,4,16); with --rate the most "
        f"requests under way ({_OPEN_CLIENTS})",
    )
    parser.add_argument(
        "--rate", type=_listed(_rate), metavar="R,…", help="send so many requests a second"
    )
    parser.add_argument(
        "--duration", type=_seconds, default=10.0, metavar="T", help="of each level (10s)"
    )
    parser.add_argument(
        "--warmup", type=_pause, default=1.0, metavar="T", help="before that, not counted (1s)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="T", help="for an answer (10s)"
    )


def _add_rivals(parser: argparse.ArgumentParser) -> None:
    def url(text: str) -> _Change:
        return lambda first: replace(first, url=text)

    def version(text: str) -> _Change:
        number = int(text)
        return lambda first: replace(first, which=Which(first.which.name, number))

    def protocol(text: str) -> _Change:
        if text not in ("tfs", "v2"):
            raise ValueError(text)
        return lambda first: replace(first, protocol=cast("Protocol", text), form="auto")

    def label(text: str) -> _Change:
        return lambda first: replace(first, which=Which(first.which.name, None, text))

    for option, metavar, change, what in (
        ("--against", "URL", url, "this server"),
        ("--against-version", "N", version, "this version"),
        ("--against-label", "L", label, "the version of this label"),
        ("--against-protocol", "tfs|v2", protocol, "the same by this protocol"),
    ):
        parser.add_argument(
            option,
            action="append",
            dest="against",
            type=change,
            metavar=metavar,
            help=f"compare with {what}; may be given more than once",
        )
    parser.add_argument(
        "--turns", type=_count, default=5, metavar="N", help="of each that is compared (5)"
    )


# -- values ----------------------------------------------------------------------------------------


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _rate(text: str) -> float:
    rate = _number(text)
    if rate > _MOST_RATE:  # they would only fill the memory
        raise argparse.ArgumentTypeError(f"{text} is more than any client sends")
    return rate


def _number(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _listed(one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        try:
            return tuple([one(part) for part in text.split(",")])
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is no list of numbers") from None

    return read


def _pause(text: str) -> float:
    """Seconds, with or without a unit: `10s`, `500ms`, `2m`."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m|h|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no time: 10s, 500ms and 2m are")
    return float(found[1]) * _UNITS[found[2]]


def _seconds(text: str) -> float:
    seconds = _pause(text)
    if not seconds:
        raise argparse.ArgumentTypeError("that is no time at all")
    return seconds


def _bodies(path: Path) -> tuple[bytes, ...]:
    with OsErrorsOf(path):
        data = path.read_bytes()
    if path.suffix != ".jsonl":
        return (data,)
    lines = tuple([line for line in data.split(b"\n") if line.strip()])
    if not lines:
        raise InvalidArgument(f"{path} holds no request.")
    return lines


# -- output ----------------------------------------------------------------------------------------


def _check_writable(*paths: Path | None) -> None:
    """Find out before the run, not after it."""
    for path in paths:
        directory = path.absolute().parent if path else None
        if directory and not os.access(directory, os.W_OK):
            raise InvalidArgument(f"{path} cannot be written: see {directory}.")


def _write(path: Path, text: str) -> None:
    with OsErrorsOf(path):
        path.write_text(text, encoding="utf-8")


def _speaks_utf8() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


class _ProgressLine:
    """Tells a person at a terminal how far it is."""

    def __init__(self) -> None:
        self._is_watched = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        if self._is_watched:
            print(f"\r\033[K{_progress_text(progress)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the line as it was."""
        if self._is_watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _progress_text(progress: Progress) -> str:
    tally = progress.tally
    what = "warming up" if progress.is_warmup else "measuring"
    failed = f", {tally.failed:,} failed" if tally.failed else ""
    share = progress.done_s / progress.all_s
    text = (
        f"{share:4.0%}  {what} {progress.measured.target}, {progress.measured.level.text}: "
        f"{tally.answered:,} answered{failed}"
    )
    return text[: shutil.get_terminal_size().columns - 1]
