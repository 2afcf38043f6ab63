"""`salver publish`: the next version of a model from a path, put in place whole."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import cast

from salver.sources.versions import parse_version

__all__ = ["make_parser", "publish_command"]

_DESCRIPTION = """\
Put a model beside the versions of a model directory: copied, loaded once to see that it does, and
then renamed into place, so that a server that watches the directory sees all of it or nothing.
"""
_EPILOG = """\
examples:
  salver publish export/saved_model models/digits
  salver publish digits.tflite models/digits --version 7 --about digits.json
  salver publish digits.tflite s3://bucket/models/digits
"""


def publish_command(arguments: Sequence[str]) -> int:
    """Run `salver publish ARGUMENTS`; returns its exit status.

    Raises:
        ServingError: it cannot be published.
    """
    try:
        asked = make_parser().parse_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)

    from salver.publishing import publish  # its imports take a while

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        published = publish(
            asked.source,
            asked.base_path,
            version=asked.version,
            about=asked.about,
            manifest=asked.manifest,
            sign_key=asked.sign_key,
            remote_config_file=asked.remote_config_file,
        )
    for warning in told:
        print(f"salver: {warning.message}", file=sys.stderr)
    print(f"Published version {published.version}: {published.uri or published.path}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """What the arguments are."""
    parser = argparse.ArgumentParser(
        prog="salver publish",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a directory such as a SavedModel, a file, or a model directory (its newest version)",
    )
    parser.add_argument(
        "base_path",
        metavar="BASE_PATH",
        help="the model directory, made where there is none; or a URI such as s3://bucket/digits",
    )
    parser.add_argument(
        "--version", type=_version, metavar="N", help="the version; by default the next one"
    )
    parser.add_argument(
        "--about",
        metavar="FILE",
        help="what the model says of itself; becomes assets/salver.json, and the files that its "
        "examples name are copied from beside it",
    )
    parser.add_argument(
        "--manifest",
        action="store_true",
        help="write SHA256SUMS, by which a server sees that the files are whole",
    )
    parser.add_argument(
        "--sign_key",
        metavar="FILE",
        help="sign them, too: an Ed25519 private key in PEM or OpenSSH's form",
    )
    parser.add_argument(
        "--remote_config_file",
        metavar="FILE",
        default="",
        help="says how stores are reached, as for salver serve",
    )
    return parser


def _version(text: str) -> int:
    version = parse_version(text)
    if version is None or version < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no version, a number from 1 up")
    return version
