"""The GET calls: status, metadata, the list of models, health."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf import json_format

from salver._pb import message_class
from salver.codecs.protobuf.signature_def import definitions_of
from salver.errors import NotFound
from salver.inference.serving import Serving, info_of
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.protocols.forwarding import Elsewhere
from salver.protocols.version_header import version_headers
from salver.transport.messages import HttpResponse
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

__all__ = [
    "list_response",
    "metadata_response",
    "signature_text",
    "status_response",
]


def status_response(serving: Serving, servable: ServableRequest) -> HttpResponse:
    """GET /v1/models/M[/versions/N]. A label is ignored, as in the reference.

    Raises:
        NotFound: no such model or version was ever seen.
    """
    statuses = serving.statuses(servable.name, servable.version)
    return _json({"model_version_status": [_status(status) for status in statuses]})


def list_response(
    serving: Serving, names: Iterable[str] | None = None, elsewhere: Sequence[Elsewhere] = ()
) -> HttpResponse:
    """GET /v1/models: configured models with their versions and labels (ours).

    Args:
        serving: tells of them.
        names: which of them; None for all.
        elsewhere: models that other servers have, which are listed apart.
    """
    # Put together of parts that are remembered: of a thousand models the printer makes 9 ms.
    models = [
        _model_text(serving, name) for name in (serving.model_names() if names is None else names)
    ]
    if not models and not elsewhere:
        return _json({"models": []})
    text = '{\n "models": [\n  ' + ",\n  ".join(models) + "\n ]" if models else '{\n "models": []'
    if elsewhere:
        text += ',\n "elsewhere": [\n  ' + ",\n  ".join(map(_elsewhere_text, elsewhere)) + "\n ]"
    return _of_text(text + "\n}\n")


@lru_cache(maxsize=1 << 14)
def _elsewhere_text(model: Elsewhere) -> str:
    statuses = (
        VersionStatus(ServableId(model.name, version), VersionState.AVAILABLE)
        for version in model.versions
    )
    shown = {
        "name": model.name,
        "nodes": model.nodes,
        "model_version_status": [_status(status) for status in statuses],
        "version_labels": dict(model.labels),
    }
    return _indented(shown, 2)


def _model_text(serving: Serving, name: str) -> str:
    statuses, labels = _known(serving, name), serving.labels(name)
    shown = ",\n    ".join(map(_status_text, statuses))
    if statuses:
        shown = f"\n    {shown}\n   "
    shown_labels = _indented(dict(labels), 3) if labels else "{}"
    # What is wrong with a version stands in its status.
    problem = None if statuses else serving.problem(name)
    error = "" if problem is None else f',\n   "error": {json.dumps(problem, ensure_ascii=False)}'
    return (
        f'{{\n   "name": {json.dumps(name, ensure_ascii=False)},\n'
        f'   "model_version_status": [{shown}],\n   "version_labels": {shown_labels}{error}\n  }}'
    )


def _status_text(status: VersionStatus) -> str:
    if status.error is None and status.note is None:
        return _text_without_error(status.id.version, status.state, status.is_in_memory)
    return _indented(_status(status), 4)


@lru_cache(maxsize=4096)
def _text_without_error(version: int, state: VersionState, is_in_memory: bool | None) -> str:
    id = ServableId("", version)
    return _indented(_status(VersionStatus(id, state, is_in_memory=is_in_memory)), 4)


def _indented(value: object, depth: int) -> str:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return text.replace("\n", "\n" + " " * depth)  # within strings it is escaped


def _known(serving: Serving, name: str) -> Sequence[VersionStatus]:
    try:
        return serving.statuses(name)
    except NotFound:  # configured, but nothing on disk yet
        return ()


def _status(status: VersionStatus) -> dict[str, Any]:
    error = status.error
    shown: dict[str, Any] = {
        "version": str(status.id.version),
        "state": status.state.name,
        "status": {
            "error_code": "OK" if error is None else error.code.name,
            "error_message": "" if error is None else error.message,
        },
    }
    if status.is_in_memory is not None:
        shown["in_memory"] = status.is_in_memory
    hint = status.note or (None if error is None else error.hint)
    if hint is not None:
        shown["hint"] = hint
    return shown


def _json(value: object, status: int = 200) -> HttpResponse:
    # Laid out as protobuf's printer does, which scripts grep: one space, a newline at the end.
    return _of_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", status)


def _of_text(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(status, text.encode(errors="surrogateescape"))


def metadata_response(serving: Serving, servable: ServableRequest) -> HttpResponse:
    """GET /v1/models/M[/versions/N|/labels/L]/metadata.

    Raises:
        NotFound: the version is not available.
        InvalidArgument: the label is not known.
    """
    id, info = info_of(serving, servable)
    definitions, version = signature_text(definitions_of(info)), id.version
    spec = json.dumps(
        {"name": servable.name, "signature_name": "", "version": str(version)},
        indent=1,
        ensure_ascii=False,
    )
    text = f'{{\n"model_spec":{spec}\n,\n"metadata": {{"signature_def": {definitions}\n}}\n}}\n'
    return HttpResponse(
        200,
        text.encode(errors="surrogateescape"),
        headers=version_headers(version),
    )


@lru_cache(maxsize=256)
def signature_text(definitions: bytes) -> str:
    """The signatures of a model as JSON, from a serialized `SignatureDefMap`.

    Kept, because a model with many takes 40 ms, and its signatures never change; a server calls
    this where it loads the model, so that the loop never has to.
    """
    text: str = json_format.MessageToJson(
        message_class("tensorflow.serving.SignatureDefMap").FromString(definitions),
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        ensure_ascii=False,
    )
    return text
