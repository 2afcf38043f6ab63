"""The document: what every API says of its routes, and of each model that is served.

A route stands in it by its template, `/v1/models/{name}:predict`, and once more for each model that
is described, with that model's own inputs and outputs. What is described is bounded: of more models
than `MOST_MODELS`, or of more than `MOST_BYTES`, the document has the names alone (`x-models`), and
a document about one of them can be had. Pure but for what its caller reads.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from salver.openapi.description import Address, ApiDescription, Object, Operation, ServedModel
from salver.openapi.parts import shared_components

__all__ = [
    "MOST_BYTES",
    "MOST_MODELS",
    "MOST_SIGNATURES",
    "Addressed",
    "Described",
    "document",
    "schema_key",
]

MOST_MODELS: Final = 100
"""Models that one document describes."""

MOST_BYTES: Final = 4 << 20
"""Of what it says of single models; the first model is described, however long that is."""

MOST_SIGNATURES: Final = 32
"""Signatures of a version that are described."""

_SECURITY: Final[Sequence[Mapping[str, Sequence[str]]]] = ({"bearer": []}, {"key": []})
_SCHEMES: Final = (
    '"securitySchemes":{"bearer":{"type":"http","scheme":"bearer","description":"An API key, or a '
    'token of an issuer that is trusted"},'
    '"key":{"type":"apiKey","in":"header","name":"x-api-key"}},'
)

_TEMPLATE: Final = re.compile(r"\{(name|version|label)\}")
_PLACES: Final = {
    "newest": ("name",),
    "version": ("name", "version"),
    "label": ("label", "name"),
}


@dataclass(frozen=True, slots=True)
class Addressed:
    """A version and the ways to it.

    Attributes:
        model: see there.
        addresses: those under which it answers.
    """

    model: ServedModel
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """One model of the configuration.

    Attributes:
        name: its name.
        versions: those of them that are described; none where nothing is known of it.
    """

    name: str
    versions: tuple[Addressed, ...] = ()


def schema_key(*names: str) -> str:
    """The beginning of the names of schemas; names that are not alike have keys that are not.

    What OpenAPI allows in such names is less than what models may be called.
    """
    return ".".join(map(_word, names))


def document(
    apis: Sequence[ApiDescription],
    models: Sequence[Described],
    *,
    version: str,
    names: Sequence[str] | None = None,
    is_guarded: bool = False,
) -> bytes:
    """The document as JSON.

    Args:
        apis: the descriptions, in the order of the document.
        models: those to describe, as far as there is room.
        version: of the server.
        names: of all models; None: those that are described.
        is_guarded: whether the server asks who asks.
    """
    paths, schemas, described = _of_models(apis, models)
    common = _common(apis)
    components = shared_components()
    own = {**components["schemas"], **_merged(api.schemas for api in apis)}
    listed = [_shown(name) for name in (names if names is not None else [m.name for m in models])]
    text = ",".join(
        (
            '{"openapi":"3.1.0"',
            f'"info":{_text(_info(version, is_whole=len(described) == len(listed)))}',
            *((f'"security":{_text(_SECURITY)}',) if is_guarded else ()),
            f'"tags":{_text([tag for api in apis for tag in api.tags])}',
            f'"paths":{{{_joined(_members(common), *paths)}}}',
            f'"components":{{"responses":{_text(components["responses"])},'
            f"{_SCHEMES if is_guarded else ''}"
            f'"schemas":{{{_joined(_members(own), *schemas)}}}}}',
            f'"x-models":{_text([_entry(name, described) for name in listed])}}}',
        )
    )
    return text.encode()


def _of_models(
    apis: Sequence[ApiDescription], models: Sequence[Described]
) -> tuple[list[str], list[str], frozenset[str]]:
    """Members of `paths`, members of `schemas`, and which models they are of."""
    paths: list[str] = []
    schemas: list[str] = []
    described: set[str] = set()
    used = 0
    for model in models[:MOST_MODELS]:
        own_paths, own_schemas = _of_model(apis, model)
        size = len(own_paths) + len(own_schemas)
        if not own_paths or (described and used + size > MOST_BYTES):
            continue
        used += size
        paths.append(own_paths)
        schemas.append(own_schemas)
        described.add(_shown(model.name))
    return paths, schemas, frozenset(described)


def _of_model(apis: Sequence[ApiDescription], model: Described) -> tuple[str, str]:
    # Written piece by piece: no call of the encoder, which keeps every other thread waiting, is of
    # more than one version.
    paths = [_members(dict(_paths(apis, version))) for version in model.versions]
    schemas = [
        _members(_merged(api.schemas_of(version.model) for api in apis if api.schemas_of))
        for version in model.versions
    ]
    return _joined(*paths), _joined(*schemas)


def _paths(apis: Sequence[ApiDescription], of: Addressed) -> Iterator[tuple[str, Object]]:
    for api in apis:
        for operation in api.operations:
            if operation.of_model is None:
                continue
            for address in of.addresses:
                path = _path(operation, of.model.name, address)
                about = None if path is None else operation.of_model(of.model)
                if path is not None and about is not None:
                    yield path, {operation.method: _identified(about, of.model, address)}


def _path(operation: Operation, name: str, address: Address) -> str | None:
    """The path of an operation on one model; None where its template is for other addresses."""
    if tuple(sorted(_TEMPLATE.findall(operation.path))) != _PLACES[address.kind]:
        return None
    values = {"name": name, address.kind: address.value}
    return _TEMPLATE.sub(lambda place: _quoted(values[place[1]]), operation.path)


def _identified(about: Object, model: ServedModel, address: Address) -> dict[str, Any]:
    key = model.key if address.kind != "label" else f"{model.key}.{_word(address.value)}"
    return {**about, "operationId": f"{about['operationId']}.{key}"}


def _common(apis: Sequence[ApiDescription]) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for api in apis:
        for operation in api.operations:
            is_filled = operation.of_model is not None  # where a model can be filled in
            about = {**operation.about, "x-of-model": True} if is_filled else operation.about
            paths.setdefault(operation.path, {})[operation.method] = about
    return paths


def _info(version: str, *, is_whole: bool) -> dict[str, Any]:
    description = (
        "The REST APIs of this server: TensorFlow Serving's under `/v1`, the Open Inference "
        "Protocol under `/v2`, health and metrics, with the models that are served now."
    )
    if not is_whole:
        description += (
            " Models without `described` in `x-models` are left out, for there are many or nothing "
            "is known of them yet; `/openapi.json?model=NAME` describes one."
        )
    return {"title": "Salver", "version": version, "description": description}


def _entry(name: str, described: frozenset[str]) -> dict[str, Any]:
    return {"name": name, "described": name in described}


# -- text ------------------------------------------------------------------------------------------


def _word(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_]{1,80}", name):
        return name
    import hashlib  # here: compiled code, which starts need not wait for

    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', name[:80])}-{digest}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _shown(name: str) -> str:
    """A name, which is bytes of any kind, as text."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _members(value: Object) -> str:
    """An object's members, without the braces."""
    return _text(value)[1:-1]


def _joined(*members: str) -> str:
    return ",".join(filter(None, members))


def _merged(all_schemas: Iterable[Mapping[str, Object]]) -> dict[str, Object]:
    merged: dict[str, Object] = {}
    for schemas in all_schemas:
        merged.update(schemas)
    return merged
