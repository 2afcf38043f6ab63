"""Which of the entries of a base path are versions, and which of those to serve. Pure.

Source: TensorFlow Serving `sources/storage_path/file_system_storage_path_source.cc`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salver.vocabulary.servable import Latest, Specific, VersionPolicy

__all__ = ["Selection", "parse_version", "select"]

# absl::SimpleAtoi: ASCII digits, one sign, ASCII white space around.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*")
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """What a policy chose.

    Attributes:
        names: version → name of its directory entry.
        warnings: what a person should be told, in the reference's words.
        is_empty_by_mistake: the policy asks for something and nothing of it is there.
    """

    names: Mapping[int, str]
    warnings: tuple[str, ...]
    is_empty_by_mistake: bool


def parse_version(name: str) -> int | None:
    """The int64 that `name` spells in full, or None. `00000123` is 123, `v1` is nothing."""
    found = _NUMBER.fullmatch(name)
    if found is None:
        return None
    number = int(found[1])
    return number if _MIN_INT64 <= number <= _MAX_INT64 else None


def _index(names: Iterable[str]) -> tuple[dict[int, str], tuple[str, ...]]:
    """Version → name, and a warning for each name that loses to one after it in the alphabet.

    Negative numbers parse but are no versions: the reference's own `ServableId` forbids them.
    """
    by_version: dict[int, str] = {}
    warnings: list[str] = []
    for name in sorted(names):
        version = parse_version(name)
        if version is None or version < 0:
            continue
        if version in by_version:
            warnings.append(
                f"Duplicate version directories detected. Version {version} will be loaded from "
                f"{name}, {by_version[version]} will be ignored."
            )
        by_version[version] = name
    return by_version, tuple(warnings)


def select(policy: VersionPolicy, servable: str, names: Iterable[str]) -> Selection:
    """Choose among the entries of the base path of `servable`."""
    if isinstance(policy, Specific):
        return _select_specific(policy.versions, servable, names)
    by_version, warnings = _index(names)
    if isinstance(policy, Latest):
        newest = sorted(by_version, reverse=True)[: policy.num_versions]
        by_version = {version: by_version[version] for version in newest}
    return Selection(by_version, warnings, not by_version)


def _select_specific(versions: tuple[int, ...], servable: str, names: Iterable[str]) -> Selection:
    """Where every version has an entry of exactly its number, nothing else is looked at."""
    if not versions:
        warning = f"No specific versions requested for servable {servable}."
        return Selection({}, (warning,), is_empty_by_mistake=False)
    present = frozenset(names)
    exact = {version: str(version) for version in versions if version >= 0}
    if present.issuperset(str(version) for version in versions) and exact:
        return Selection(exact, (), is_empty_by_mistake=False)
    by_version, warnings = _index(present)
    chosen = {v: by_version[v] for v in sorted(set(versions) & by_version.keys())}
    missing = tuple(
        f"Version {version} of servable {servable}, which was requested to be served as a "
        "'specific' version in the servable's version policy, was not found in the file system"
        for version in sorted(set(versions) - chosen.keys())
    )
    return Selection(chosen, warnings + missing, not chosen)
