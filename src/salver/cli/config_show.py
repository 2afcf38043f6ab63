"""`salver config show`: every setting a server would have, and what it comes from."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from salver.cli.backend_flags import all_backend_flags, find_backend_flag
from salver.cli.cloud_models import cloud_models
from salver.cli.commands import Misused
from salver.cli.locate import given_path, locate_models
from salver.cli.printing import print_error
from salver.cli.serve import SERVE_DEFAULTS, check_arguments
from salver.config.checking import read
from salver.config.effective import DEFAULT, Setting, model_settings
from salver.config.flag_sources import parse_all, source_of
from salver.config.flags import Parsed
from salver.config.models import ModelConfig, from_flags
from salver.config.options import FLAGS, ServerOptions
from salver.config.start_up import read_configuration
from salver.config.structured import Places
from salver.config.text_format import Misplaced, read_file_once
from salver.errors import InvalidArgument

__all__ = ["show"]

_REFERENCE: Final = "--tensorflow_model_server"
_JSON: Final = "--json"
_WIDEST: Final = 60

# What --platform_config_file takes the place of.
_OF_PLATFORMS: Final = frozenset({
    "tensorflow_session_parallelism", "tensorflow_session_config_file",
    "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism",
    "per_process_gpu_memory_fraction", "saved_model_tags", "mixed_precision", "enable_batching",
    "batching_parameters_file", "enable_per_model_batching_parameters", "enable_model_warmup",
    "num_request_iterations_for_warmup", "prefer_tflite_model", "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
})  # fmt: skip


def show(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run `salver config show ARGUMENTS`; returns its exit status.

    Args:
        arguments: those of a server, and of this command.
        environment: has flags of `salver serve` too; the process's when None.

    Raises:
        Misused: the arguments make no sense.
        ServingError: the server would not start with them.
    """
    own = {_REFERENCE, _JSON} & set(arguments)
    is_reference = _REFERENCE in own
    base = ServerOptions() if is_reference else SERVE_DEFAULTS
    variables = os.environ if environment is None else environment
    parsed = parse_all(
        [each for each in arguments if each not in own],
        base,
        find_backend_flag,
        variables,
        has_variables=not is_reference,
    )
    paths = [argument for argument in parsed.leftovers if argument != "--"]
    if not is_reference:
        paths = paths or cloud_models(parsed.options, variables)
    if paths or parsed.set_names or not is_reference:
        check_arguments(parsed, paths)
    flags = list(_flags(parsed, base, has_paths=bool(paths)))
    with ExitStack() as stack:
        models, places = _models(parsed, paths, stack)
        file = parsed.options.model_config_file
        sources = {flag.name: flag.source for flag in flags}
        own_settings = {
            model.name: list(
                model_settings(
                    model, parsed.options, sources, index=index, file=file, places=places
                )
            )
            for index, model in enumerate(models)
        }
        _print(flags, own_settings, is_json=_JSON in own)
        read_configuration(parsed.options, tuple(models))
    return 0


def _print(flags: list[Setting], models: Mapping[str, list[Setting]], *, is_json: bool) -> None:
    if is_json:
        document = {
            "flags": [asdict(flag) for flag in flags],
            "models": {name: [asdict(each) for each in own] for name, own in models.items()},
        }
        print(json.dumps(document, indent=2))
        return
    for flag in flags:
        print(_line(f"--{flag.name}", flag, ""))
    for name, own in models.items():
        print(f"\nmodel {name}")
        for setting in own:
            print(_line(setting.name, setting, "  "))


def _line(name: str, setting: Setting, indent: str) -> str:
    value = str(setting.value).lower() if isinstance(setting.value, bool) else setting.value
    return f"{f'{indent}{name}={value}':<{_WIDEST}} {setting.source}"


def _flags(parsed: Parsed, base: ServerOptions, *, has_paths: bool) -> Iterator[Setting]:
    options, plain = parsed.options, ServerOptions()
    for flag in FLAGS:
        name, value = flag.name, getattr(options, flag.name)
        if (place := source_of(parsed, name)) is not None:
            source = place
        elif getattr(base, name) != getattr(plain, name):
            source = f"{DEFAULT} of salver serve"
        else:
            source = DEFAULT
        if options.platform_config_file and name in _OF_PLATFORMS:
            source += ", not used: see --platform_config_file"
        if name in ("model_name", "model_base_path") and (options.model_config_file or has_paths):
            source += ", not used"
        yield Setting(name, value, source)
    given = dict(options.backend_flags)
    for flag in all_backend_flags():
        source = source_of(parsed, flag.name) or DEFAULT
        yield Setting(flag.name, given.get(flag.name, flag.default), source)


def _models(
    parsed: Parsed, paths: Sequence[str], stack: ExitStack
) -> tuple[Sequence[ModelConfig], Places]:
    options = parsed.options
    if paths:
        made: list[Path] = []

        def scratch() -> Path:
            made.append(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            return made[-1]

        models = locate_models(paths, scratch, print_error)
        return [
            replace(model, base_path=str(given_path(Path(model.base_path))))
            if Path(model.base_path) in made
            else model
            for model in models
        ], {}
    file = options.model_config_file
    if file:
        try:
            return read(read_file_once(file), file)
        except Misplaced as error:
            raise InvalidArgument(f"{file}:{error.line}:{error.column}: {error}") from None
    if options.model_base_path:
        return from_flags(options.model_name, options.model_base_path), {}
    raise Misused("which model? give a PATH, --model_base_path or --model_config_file")
