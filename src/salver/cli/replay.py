"""`salver replay`: sends a request log to a server, and says where the answers differ."""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any, BinaryIO, Final, Literal, cast

from salver.cli.key_file import add_key_file, headers_of_key_file
from salver.cli.printing import print_error, print_lines
from salver.cli.v2_sender import sender_by
from salver.errors import NotFound, ServingError
from salver.instruments.files import error_of_os
from salver.request_log.answers import Tolerance
from salver.request_log.reading import read_log
from salver.request_log.replaying import Outcome, ReplayPlan, Report, replay
from salver.request_log.sending import Redirection
from salver.vocabulary.hints import without_nodes

__all__ = ["make_parser", "replay_command"]

_SAME: Final = 0
_DIFFERENT: Final = 1
_FAILED: Final = 2

_DESCRIPTION = """\
Send the calls of request logs to a server and compare its answers with those in the log, or, with
--against, with those of another server.
"""
_EPILOG = """\
URL is http://host:port for REST; grpc://host:port, host:port or unix:path for gRPC. The exit
status is 0 when all answers are the same, 1 when some differ, 2 when a call failed.
"""


def replay_command(arguments: Sequence[str]) -> int:
    """Run `salver replay ARGUMENTS`; returns its exit status: 0, 1 where answers differ, else 2."""
    try:
        asked = make_parser().parse_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    try:
        report, details = _replay(asked)
    except ServingError as error:
        print_error(error)
        return _FAILED
    except OSError as error:  # the disk that holds a log
        print(f"salver: {error}", file=sys.stderr)
        return _FAILED
    print_lines([*details.lines(), *_summary(report)])
    if report.failed:
        return _FAILED
    return _DIFFERENT if report.different else _SAME


def _replay(asked: argparse.Namespace) -> "tuple[Report, _Details]":
    redirection = Redirection(asked.model, asked.version, asked.label, asked.signature)
    plan = ReplayPlan(
        concurrency=asked.concurrency,
        rate=asked.rate,
        limit=asked.limit,
        tolerance=Tolerance(asked.rtol, asked.atol),
    )
    headers = headers_of_key_file(asked.api_key_file)
    with ExitStack() as stack:
        sender = stack.enter_context(
            closing(sender_by(asked.protocol, asked.to, redirection, asked.timeout, headers))
        )
        against = None
        if asked.against is not None:
            made = sender_by(asked.protocol, asked.against, redirection, asked.timeout, headers)
            against = stack.enter_context(closing(made))
        files = [(stack.enter_context(_opened(name, "rb")), name) for name in asked.logs]
        output = stack.enter_context(_opened(asked.output, "wb")) if asked.output else None
        details = _Details(asked.show, output)
        stack.enter_context(details)
        # All are begun now, so that none grows by what is sent.
        logs = [read_log(file, name) for file, name in files]
        records = itertools.chain.from_iterable(logs)
        return replay(records, sender, against, plan, details), details


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="salver replay", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False
    )
    parser.add_argument(
        "logs", nargs="+", metavar="LOG", help="a TFRecord file of PredictionLog, or lines of JSON"
    )
    parser.add_argument("--to", required=True, metavar="URL", help="the server that is asked")
    parser.add_argument(
        "--protocol",
        default="tfs",
        choices=["tfs", "v2"],
        help="TensorFlow Serving's API (tfs), or the Open Inference Protocol",
    )
    parser.add_argument("--against", metavar="URL", help="compare with the answers of this server")
    add_key_file(parser)
    parser.add_argument("--model", metavar="NAME", help="ask this model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="ask this version")
    which.add_argument("--label", metavar="L", help="ask the version of this label")
    parser.add_argument("--signature", metavar="S", help="ask this signature")
    parser.add_argument("--limit", type=_count, default=0, metavar="N", help="send so many calls")
    parser.add_argument(
        "--rate", type=_number, default=0.0, metavar="R", help="begin so many calls a second"
    )
    parser.add_argument(
        "--concurrency", type=_count, default=4, metavar="N", help="calls at the same time (4)"
    )
    parser.add_argument(
        "--timeout", type=_number, default=60.0, metavar="S", help="seconds for an answer (60)"
    )
    parser.add_argument(
        "--rtol", type=_number, default=1e-5, metavar="X", help="relative tolerance (1e-5)"
    )
    parser.add_argument(
        "--atol", type=_number, default=1e-6, metavar="X", help="absolute tolerance (1e-6)"
    )
    parser.add_argument(
        "--show", type=_count, default=3, metavar="N", help="calls that are shown in detail (3)"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="write what differs or failed there, a line of JSON each"
    )
    return parser


def _count(text: str) -> int:
    with suppress(ValueError):
        value = int(text)
        if value >= 0:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")


def _number(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if value >= 0:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 up")


def _opened(name: str, mode: Literal["rb", "wb"]) -> BinaryIO:
    try:
        return open(name, mode)
    except FileNotFoundError as error:
        if mode == "rb":
            raise NotFound(f"There is no request log {name}") from error
        raise error_of_os(name, error) from error
    except OSError as error:
        raise error_of_os(name, error) from error


class _Details:
    """Keeps the first calls that differ or failed, and writes all of them to a file.

    A person at a terminal is told how far it is.
    """

    def __init__(self, most: int, output: BinaryIO | None) -> None:
        self._most = most
        self._output = output
        self._kept: list[Outcome] = []
        self._is_watched = sys.stderr.isatty()

    def __enter__(self) -> "_Details":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def __call__(self, outcome: Outcome, report: Report) -> None:
        """Take what came of a call."""
        if self._is_watched:
            text = f"{report.done} done, {report.different} differ, {report.failed} failed"
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        if not (outcome.failure or outcome.differs):
            return
        self._kept = sorted([*self._kept, outcome], key=lambda kept: kept.index)[: self._most]
        if self._output is not None:
            self._output.write(json.dumps(_document(outcome)).encode() + b"\n")

    def lines(self) -> Iterator[str]:
        """The first of them, in words."""
        for outcome in self._kept:
            name = f", model {outcome.model}" if outcome.model else ""
            words, nodes = without_nodes(outcome.failure)
            yield f"{outcome.where}{name}:" + (f" {words}" if words else "")
            if nodes:
                yield f"  {nodes}"
            yield from (
                f"  {comparison.output or 'output'} {comparison.problem}"
                for comparison in outcome.comparisons
                if comparison.problem
            )


def _document(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = {"record": outcome.where, "model": outcome.model}
    if outcome.failure:
        return {**document, "failure": outcome.failure}
    problems = {
        comparison.output: comparison.problem
        for comparison in outcome.comparisons
        if comparison.problem
    }
    return {**document, "differences": problems}


def _summary(report: Report) -> Iterator[str]:
    uncompared = f", {report.uncompared} not compared" if report.uncompared else ""
    yield (
        f"{report.sent} sent: {report.same} same, {report.different} different"
        f"{uncompared}, {report.failed} failed"
    )
    for (model, output), largest in sorted(report.largest.items()):
        name = f"{model} {output}".rstrip()
        yield f"  largest difference of {name}: {largest:g}"
    if report.seconds:
        times = report.percentiles().items()
        yield "  latency: " + ", ".join(f"{name} {value * 1e3:.1f} ms" for name, value in times)
