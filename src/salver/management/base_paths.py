"""Which base paths a configuration may name that comes over the network.

Who runs a server names places by flags and files. Who only reaches it may name others below these,
and no others: the server fetches with credentials of its own. As for trusted paths, whole
components are compared: of real paths on this machine, and of URIs in the form of `canonical_uri`.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.errors import PermissionDenied
from salver.instruments.files import scheme_of
from salver.instruments.uris import canonical_uri

__all__ = ["BasePaths", "are_all_paths_allowed"]

_ANY: Final = "*"
_FILE: Final = re.compile("file://", re.IGNORECASE)


class BasePaths:
    """What may be named. Safe to use from any thread."""

    def __init__(self, allowed: Iterable[str] = (_ANY,)) -> None:
        """Begin with what flags allow.

        Args:
            allowed: paths and URIs; `*` for any.
        """
        self._allowed = tuple(filter(None, (text.strip() for text in allowed)))
        self._named: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: ServerOptions) -> "BasePaths":
        """What the flags and the arguments say."""
        texts = (*options.allowed_base_paths.split(","), *options.trusted_model_paths.split(","))
        return cls((*texts, *options.typed_paths))

    def name(self, models: Iterable[ModelConfig]) -> None:
        """Allow what a configuration names that comes from a flag or a file, and no earlier one."""
        self._named = tuple(dict.fromkeys(model.base_path for model in models))

    def check(self, models: Iterable[ModelConfig]) -> None:
        """Refuse a configuration that comes over the network, and names other places.

        Raises:
            PermissionDenied: it does.
        """
        if _ANY in self._allowed:
            return
        allowed = [_place(text) for text in (*self._allowed, *self._named)]
        for model in models:
            scheme, parts = _place(model.base_path)
            if parts is None or not any(
                scheme == other and beginning is not None and parts[: len(beginning)] == beginning
                for other, beginning in allowed
            ):
                from salver.remote.places import shown  # here: not what most servers need

                raise PermissionDenied(
                    f"A request cannot have model {model.name} served from "
                    f"{shown(model.base_path)}, which is below none of the places that the server "
                    "was started with (--allowed_base_paths)",
                    hint="Start the server with --allowed_base_paths, or name the model in the "
                    "file of --model_config_file.",
                )


def are_all_paths_allowed(options: ServerOptions) -> bool:
    """Whether a request may name any path of this machine, as `tensorflow_model_server` has it."""
    return not {_ANY, "/"}.isdisjoint(map(str.strip, options.allowed_base_paths.split(",")))


def _place(text: str) -> tuple[str, tuple[str, ...] | None]:
    """The scheme of a base path, and its components; None for those that mean no one place."""
    scheme = scheme_of(text)
    if scheme in ("", "file"):
        path = _FILE.sub("", text, count=1) if _FILE.match(text) else text
        if "\0" in path or not os.path.isabs(path):
            return "", None
        return "", Path(os.path.realpath(path)).parts
    uri = canonical_uri(text)
    return uri.scheme, uri.parts if uri.is_definite else None
