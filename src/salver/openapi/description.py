"""What an API says of its routes, and what the document knows of a model while it is made.

An API gives a function that makes its `ApiDescription` (`protocols.api.Api.describe`): it is called
when somebody asks for the document, so that a server where nobody does imports none of it. A test
compares the descriptions with the tables of routes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from salver.about.document import About, SignatureAbout
from salver.vocabulary.signature import Signature

__all__ = ["Address", "ApiDescription", "Method", "Object", "Operation", "ServedModel"]

Object: TypeAlias = Mapping[str, Any]
"""An object of OpenAPI or of JSON Schema."""

Method: TypeAlias = Literal["get", "post", "put", "delete"]


@dataclass(frozen=True, slots=True)
class Address:
    """How a request comes to a version.

    Attributes:
        kind: the newest version has the bare name of the model.
        value: number of the version, or the label; empty for the newest.
    """

    kind: Literal["newest", "version", "label"]
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One version that answers requests, as the document shows it.

    Attributes:
        name: of the model.
        version: its number.
        key: begins the names of its schemas; unlike that of any other version.
        signatures: those that people call, the default one first.
        about: what it says of itself.
    """

    name: str
    version: int
    key: str
    signatures: Mapping[str, Signature]
    about: About = field(default_factory=About)

    @property
    def title(self) -> str:
        """What people call it; names of models are bytes of any kind."""
        shown = self.name.encode(errors="surrogateescape").decode(errors="replace")
        return self.about.title or shown

    def said(self, signature: str) -> SignatureAbout:
        """What the version says of one of its signatures."""
        return self.about.signatures.get(signature) or SignatureAbout()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        method: of HTTP, as OpenAPI writes it.
        path: a template; `{name}`, `{version}` and `{label}` stand for those of a model.
        about: OpenAPI's Operation Object.
        of_model: makes the same for one model, where the template names no more than it and its
            version or label; None for a model that has nothing of the kind.
    """

    method: Method
    path: str
    about: Object
    of_model: Callable[[ServedModel], Object | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDescription:
    """What one API has in the document.

    Attributes:
        operations: on its routes.
        schemas: name → schema, for all of its operations to refer to.
        schemas_of: makes those of one version; their names begin with its key.
        tags: OpenAPI's Tag Objects of its operations.
        unlisted: path of a route, as its table has it → why the document leaves it out.
    """

    operations: Sequence[Operation] = ()
    schemas: Mapping[str, Object] = field(default_factory=lambda: MappingProxyType({}))
    schemas_of: Callable[[ServedModel], Mapping[str, Object]] | None = None
    tags: Sequence[Object] = ()
    unlisted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
