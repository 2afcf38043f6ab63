"""Flags that are in no table: `--<backend>_<option>`, of the options that backends declare."""

from collections.abc import Iterator
from dataclasses import fields

from salver.backends.options import OptionFlag, flags_of
from salver.backends.protocol import Backend
from salver.backends.registry import Backends
from salver.config.options import Flag, FlagState, FlagType
from salver.errors import FailedPrecondition

__all__ = ["all_backend_flags", "find_backend_flag", "settings_of_backends"]

_TYPES = {bool: FlagType.BOOL, int: FlagType.INT64, float: FlagType.FLOAT, str: FlagType.STRING}


def find_backend_flag(name: str) -> Flag | None:
    """The flag of that name; None where no backend has it. Imports that backend alone."""
    backends = Backends()
    for each in backends:
        if name.startswith(f"{each}_"):
            try:
                flags = _flags(backends[each])
            except FailedPrecondition:  # its first model will tell
                continue
            found = [flag for flag in flags if flag.name == name]
            if found:
                return found[0]
    return None


def settings_of_backends() -> frozenset[str]:
    """The flags of the table that fill options of the backends that come with Salver."""
    options = [field for backend in Backends().built_in() for field in fields(backend.options)]
    return frozenset(name for field in options for name in field.metadata["settings"])


def all_backend_flags() -> list[Flag]:
    """Those of all backends, for `--help-all`; imports them, but not their libraries."""
    backends = Backends()
    found = (*backends.built_in(), *backends.installed())
    return [flag for backend in found for flag in _flags(backend)]


def _flags(backend: Backend) -> Iterator[Flag]:
    return map(_flag, flags_of(backend.name, backend.options))


def _flag(of: OptionFlag) -> Flag:
    return Flag(
        name=of.name,
        type=_TYPES[of.kind],
        default=of.default,
        help=of.help,
        default_text="",
        state=FlagState.WORKS,
        note="",
    )
