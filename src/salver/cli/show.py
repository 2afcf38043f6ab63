"""`salver show`: what `saved_model_cli show --all` tells of a model, without its framework.

What is known only after a conversion is converted for that, as a server would, unless that has been
done.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from salver._pb import message_class
from salver.backends.selection import Selector
from salver.cli.backend_flags import find_backend_flag
from salver.cli.commands import Misused
from salver.cli.locate import locate_version, models_under
from salver.cli.show_about import show_about
from salver.codecs.protobuf.signature_def import tensor_names_of
from salver.config.flags import parse
from salver.config.options import ServerOptions, settings_of
from salver.errors import InvalidArgument
from salver.instruments.files import scheme_of
from salver.sources.table import BUILT_IN
from salver.vocabulary.model import ModelInfo, TensorNames
from salver.vocabulary.signature import Signature, TensorSpec, is_internal
from salver.vocabulary.tensorflow_types import enum_name

__all__ = ["describe_model", "show", "show_command"]

_USAGE: Final = "usage: salver show PATH [--flag=value ...]"
_HELP: Final = f"{_USAGE}\n\nThe flags are those of a server, of which those about files count.\n\
PATH may be a URI of a store, such as s3://bucket/models/digits."
_HELP_WORDS: Final = ("--help", "-h", "help")


def show_command(arguments: Sequence[str]) -> int:
    """Run `salver show ARGUMENTS`; returns its exit status.

    Raises:
        Misused: the arguments make no sense.
        ServingError: there is no model, or it cannot be read.
    """
    if arguments and arguments[0] in _HELP_WORDS:
        print(_HELP)
        return 0
    parsed = parse(arguments, find=find_backend_flag)
    if parsed.bad:
        raise Misused(" ".join(map(str, parsed.bad)))
    paths = [argument for argument in parsed.leftovers if not argument.startswith("-")]
    if len(paths) != 1 or len(parsed.leftovers) != 1:
        raise Misused(_USAGE)
    text = _show_at(paths[0], parsed.options)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _show_at(place: str, options: ServerOptions) -> str:
    scheme = scheme_of(place)
    is_remote = scheme in BUILT_IN and (
        scheme not in ("http", "https") or place.endswith((".tar.gz", ".tgz"))
    )
    if not is_remote or Path(place).exists():
        return show(_local(place), options)

    from salver.cli.models_below import models_below

    places = list(models_below(place, options).values()) or [place]
    return "\n\n\n".join(_shown_from(each, options) for each in places)


def _shown_from(uri: str, options: ServerOptions) -> str:
    from salver.cli.remote_models import newest_of

    with newest_of(uri, options) as version:
        return show(version, options).replace(str(version), uri)


def _local(text: str) -> Path:
    """A path; what is none is refused with what to do instead.

    Raises:
        InvalidArgument: it is a URL.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or Path(text).exists():
        return Path(text)
    if scheme.lower() in ("http", "https"):
        server = f"{scheme}://{rest.partition('/')[0]}"
        raise InvalidArgument(
            f"{text} is a URL, and show reads files. Of a server one asks the signatures so: "
            f"curl {server}/v1/models/NAME/metadata"
        )
    raise InvalidArgument(f"{text} is not on this machine, and show reads local files alone.")


def show(path: Path, options: ServerOptions | None = None) -> str:
    """Describe the model at `path`: one, a version of one, or a model directory's newest.

    Of a directory of models each is described.

    What could be served in its place, if a flag said so, is described too.

    Args:
        path: of a directory, or of a file.
        options: flags that count where files are looked at; as by default when None.

    Raises:
        NotFound: there is none.
        ServingError: it cannot be read.
    """
    select = Selector(settings=settings_of(options or ServerOptions()))
    models = models_under(path, select)
    if models:
        return "\n\n\n".join(_shown(model, select) for model in models)
    return _shown(path, select)


def _shown(path: Path, select: Selector) -> str:
    located = locate_version(path, select)
    version = "" if located.version is None else f" (version {located.version})"
    parts: list[str] = []
    told: dict[str, Signature] = {}
    with located.to_read() as readable:
        for each, there in zip(located.found, readable, strict=True):
            if parts and not (each.match is not None and each.match.instead):
                continue
            variants = each.backend.describe(there.path, there.options)
            lines = [describe_model(of.info, of.heading) for of in variants]
            parts += [f"{each.shown}{version}", *(lines or ["Only a load tells its signatures."])]
            if not told:
                told = {name: of for part in variants for name, of in part.info.signatures.items()}
    directory = located.path if located.path.is_dir() else located.path.parent
    parts.append(show_about(directory, told or None))
    return "\n\n".join(filter(None, parts))


def describe_model(info: ModelInfo, what: str = "The model") -> str:
    """Signatures, inputs, outputs, dtypes and shapes, one under the other.

    Args:
        info: what a model says of itself. One without a graph has no names of tensors.
        what: has these signatures.
    """
    made = message_class("tensorflow.serving.SignatureDefMap").FromString(info.definitions or b"")
    names = tensor_names_of(made.signature_def)
    lines = [f"{what} contains the following SignatureDefs:"]
    for name, signature in info.signatures.items():
        if not is_internal(name):
            lines += ["", f"signature_def['{name}']:", *_signature(signature, names.get(name))]
    return "\n".join(lines)


def _signature(signature: Signature, names: TensorNames | None) -> Iterator[str]:
    for kind, tensors, called in (
        ("inputs", signature.inputs, None if names is None else names.inputs),
        ("outputs", signature.outputs, None if names is None else names.outputs),
    ):
        yield f"  {kind}:" if tensors else f"  {kind}: none"
        for alias, spec in tensors.items():
            yield f"    {kind}['{alias}'] tensor_info:"
            yield f"        dtype: {enum_name(spec.dtype)}"
            yield f"        shape: {_shape(spec)}"
            if called is not None:
                yield f"        name: {called[alias]}"
    yield f"  method name: {signature.method_name}"


def _shape(spec: TensorSpec) -> str:
    if spec.shape is None:
        return "unknown_rank"
    return f"({', '.join(str(size) for size in spec.shape)})"
