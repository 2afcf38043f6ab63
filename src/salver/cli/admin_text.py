"""Answers of the administration as people read them: lists of lines."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["audit_lines", "changed_lines", "config_lines", "model_lines"]

_WIDEST: Final = 60
_LONGEST: Final = 100  # characters of a value


def config_lines(document: Mapping[str, Any], *, is_all: bool) -> list[str]:
    """The configuration: flags, and models with their settings."""
    flags = [each for each in document["flags"] if is_all or each["source"] != "default"]
    lines = [_setting(f"--{each['name']}", each) for each in flags]
    for model in document["models"]:
        state = " (unloaded)" if model["name"] in document["unloaded"] else ""
        lines += ["", f"model {model['name']}{state}"]
        lines += [_setting(f"  {each['name']}", each) for each in model["settings"]]
    lines.append("")
    if problem := document.get("model_config_file_problem"):
        lines.append(f"{document['model_config_file']} cannot be read now: {problem}")
    elif document["is_changed"]:
        lines.append("This is not what the file, or the command line, says.")
    return [*lines, document["persistence"]]


def model_lines(document: Mapping[str, Any]) -> list[str]:
    """One model: its versions, labels and settings, as far as they are told."""
    lines = [f"model {document['name']}{' (unloaded)' if document.get('is_unloaded') else ''}"]
    for each in document["versions"]:
        why = each.get("error_message") or each.get("note") or ""
        lines.append(f"  version {each['version']}  {each['state']}{f'  {why}' if why else ''}")
    for label, version in document.get("labels", {}).items():
        lines.append(f"  label {label}  version {version}")
    lines += [_setting(f"  {each['name']}", each) for each in document.get("settings", ())]
    if cleared := document.get("cleared_versions"):
        lines.append(f"  brought back: version {', '.join(map(str, cleared))}")
    return lines


def changed_lines(document: Mapping[str, Any]) -> list[str]:
    """What a change has done, or would do."""
    lines = [_difference(each) for each in document["changes"]]
    if more := document["more_changes"]:
        lines.append(f"and {more} more")
    if not lines:
        lines.append("Nothing changes")
    if again := document["loads_again"]:
        lines.append(f"loaded again: {', '.join(again)}")
    lines.append("Not done: this was a dry run." if document["is_dry_run"] else "")
    return [*filter(None, lines), document["persistence"]]


def audit_lines(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who changed what."""
    return [line for entry in entries for line in _entry(entry)] or ["Nothing is on record"]


def _entry(entry: Mapping[str, Any]) -> Iterator[str]:
    who = entry["principal"] or entry["peer"] or "the server"
    revision = f"  revision {entry['revision']}" if entry["revision"] else ""
    failed = "" if entry["outcome"] == "OK" else f"  {entry['outcome']}: {entry['message']}"
    what = f"{entry['action']} {entry['model']}".rstrip()
    yield f"{entry['time']}  {who}  {what}  ({entry['via']}){revision}{failed}"
    for each in entry["changes"]:
        yield f"    {_difference(each)}"
    if more := entry["more_changes"]:
        yield f"    and {more} more"


def _difference(each: Mapping[str, Any]) -> str:
    if each["field"]:
        name = f"{each['model']}.{each['field']}" if each["model"] else each["field"]
    else:
        name = f"model {each['model']}"
    if each["before"] is None:
        return f"+ {name} = {_shown(each['after'])}"
    if each["after"] is None:
        return f"- {name} = {_shown(each['before'])}"
    return f"  {name}: {_shown(each['before'])} -> {_shown(each['after'])}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _setting(name: str, each: Mapping[str, Any]) -> str:
    value = each["value"]
    text = str(value).lower() if isinstance(value, bool) else value
    return f"{f'{name}={text}':<{_WIDEST}} {each['source']}"
