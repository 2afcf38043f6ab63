"""`salver config`: looks at configurations without a server."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from salver.config.options import ServerOptions
from salver.config.platform import read_platforms
from salver.config.text_format import ENDINGS, Misplaced, ending_of, read_file_once
from salver.errors import InvalidArgument, ServingError
from salver.instruments.files import OsErrorsOf

if TYPE_CHECKING:  # which most of what is asked here needs not
    from salver.backends.registry import Backends
    from salver.config.models import ModelConfig

__all__ = ["config", "make_parser"]

_DESCRIPTION: Final = """\
Look at a model config file, or at a whole configuration, without starting a server.
"""
_CHECK: Final = """\
Print what is wrong with model config files, as FILE:LINE:COLUMN: message, and end with status 1 if
anything is. The ending of its name says what a file is: YAML, JSON, or else text protobuf.
"""
_CONVERT: Final = """\
Print a model config file in another form: text protobuf as YAML, YAML or JSON as text protobuf,
unless --to or the ending of --output says another. Comments are not kept.
"""
_SHOW: Final = """\
Print every setting that a server started with these arguments would have, and what it comes from;
then each model with its own. The arguments are those of salver serve.
"""
_FORMS: Final = ("text", *(ending[1:] for ending in ENDINGS))


def config(arguments: Sequence[str]) -> int:
    """Run `salver config ARGUMENTS`; returns its exit status.

    Raises:
        Misused: the arguments make no sense.
        ServingError: a file cannot be read, or is wrong.
    """
    # What `show` takes are a server's flags, which argparse would not let by.
    if arguments[:1] == ["show"] and not {"--help", "-h"} & set(arguments[1:]):
        from salver.cli.config_show import show

        return show(arguments[1:])
    try:
        asked = make_parser().parse_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    match asked.action:
        case "check":
            return _check(asked.files, asked.platform_config_file)
        case "convert":
            return _convert(asked.file, asked.to, asked.output)
        case _:
            return _schema()


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="salver config", description=_DESCRIPTION, allow_abbrev=False
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="check|convert|schema|show"
    )
    check = actions.add_parser("check", help="say what is wrong with a file", description=_CHECK)
    check.add_argument("files", nargs="+", metavar="FILE")
    check.add_argument(
        "--platform_config_file",
        default="",
        metavar="PLATFORMS",
        help="the server's: models may ask for the platforms there",
    )
    convert = actions.add_parser("convert", help="print it in another form", description=_CONVERT)
    convert.add_argument("file", metavar="FILE")
    convert.add_argument("--to", choices=_FORMS, help="the form")
    convert.add_argument("--output", type=Path, metavar="PATH", help="write this file instead")
    actions.add_parser(
        "schema",
        help="print a JSON Schema for editors",
        description="Print the JSON Schema (draft 2020-12) of a model config file in YAML or JSON.",
    )
    actions.add_parser(
        "show",
        help="print the effective settings",
        description=_SHOW,
        usage="salver config show [PATH|NAME=PATH ...] [--flag=value ...]",
    )
    return parser


def _check(files: Sequence[str], platform_config_file: str) -> int:
    from salver.backends.registry import Backends
    from salver.config.checking import findings  # brings what other commands need not

    backends = Backends()
    named = read_platforms(ServerOptions(platform_config_file=platform_config_file))
    platforms = tuple(dict.fromkeys((*named, *backends)))
    status = 0
    for file in files:
        content = read_file_once(file)
        for found in findings(content, file, platforms, partial(_wrong_options, backends)):
            print(f"{file}:{found.line}:{found.column}: {found.text}")
            status = 1
    return status


def _wrong_options(backends: "Backends", model: "ModelConfig") -> ServingError | None:
    """Why no backend that may serve a model takes the options that it has for it.

    One that takes options of any name counts where it is named: it would hide every mistake.
    """
    from salver.backends.options import fill, takes_others

    platform = model.model_platform
    is_named = platform in backends
    error = None
    for name in [platform] if is_named else backends:
        if not is_named and takes_others(backends[name].options):
            continue
        try:
            fill(backends[name].options, model.options.options, of=name)
        except ServingError as wrong:
            error = error or wrong
        else:
            return None
    return error


def _convert(file: str, to: str | None, output: Path | None) -> int:
    from google.protobuf import text_format

    from salver._pb import POOL
    from salver.config.model_files import model_server_config, write_models

    form = to or ("" if output is None else ending_of(str(output))[1:] or "text")
    form = form or ("text" if ending_of(file) else "yaml")
    try:
        message = model_server_config(read_file_once(file), file)
    except Misplaced as error:
        text = f"{file}:{error.line}:{error.column}: {error}"
        raise InvalidArgument(text) from None
    if form == "text":
        text = text_format.MessageToString(message, as_utf8=True, descriptor_pool=POOL)
    else:
        text = write_models(message, f".{form}")
    if output is None:
        sys.stdout.write(text)
        return 0
    new = output.with_name(f".{output.name}.new")  # a server may read the file at any moment
    with OsErrorsOf(output):
        new.write_text(text, encoding="utf-8")
        new.replace(output)
    return 0


def _schema() -> int:
    from salver.config.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
