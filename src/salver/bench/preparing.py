"""Turns what a person asks into a target: where it is, and the requests it will get."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import numpy as np

from salver.bench.http_lines import http_request
from salver.bench.inputs import describe_feeds, random_feeds
from salver.bench.v2_requests import Form, check_v2, infer_exchange, infer_path
from salver.client.address import Address, Tls, parse_address
from salver.client.blocking import Protocol, wire_of
from salver.client.exchange import Exchange, Reply, Which
from salver.client.grpc_transport import GrpcTransport
from salver.client.http_transport import HttpTransport
from salver.client.rest_wire import RestWire
from salver.client.wire import Wire
from salver.codecs.json.document import Document
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.request_messages import encode_examples_request, encode_predict_request
from salver.errors import InvalidArgument, NotFound, ServingError, Unavailable, Unimplemented
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD_NAME,
    Signature,
    is_internal,
)

__all__ = ["Asked", "Form", "Method", "Target", "prepare"]

Method = Literal["predict", "classify", "regress", "auto"]
"""Which call; `auto` is predict, and for a body with `examples` what the signature was made for."""

_GRPC_METHODS: Final = {
    "predict": "/tensorflow.serving.PredictionService/Predict",
    "classify": "/tensorflow.serving.PredictionService/Classify",
    "regress": "/tensorflow.serving.PredictionService/Regress",
}
_VARIANTS: Final = 8  # different random requests, so that no cache on the way answers them
_MOST_BYTES: Final = 32 << 20  # of all of them together


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for one target.

    Attributes:
        url: `http://…`, `https://…`; `grpc://…`, `grpcs://…`, `host:port` or `unix:…`.
        which: model and version.
        protocol: TensorFlow Serving's API, or the Open Inference Protocol.
        form: of tensors by the latter over REST; see there.
        signature: None for what the body says, or else the default one.
        method: see there.
        bodies: requests as REST takes them; none for random ones.
        rows: of random requests.
        timeout_s: for an answer.
        ca: PEM file of the authorities to trust; None for the system's.
        headers: sent with each request, such as a key.
        seed: of the random numbers: the same for all targets, so that all get the same requests.
    """

    url: str
    which: Which
    protocol: Protocol = "tfs"
    form: Form = "auto"
    signature: str | None = None
    method: Method = "auto"
    bodies: tuple[bytes, ...] = ()
    rows: int = 1
    timeout_s: float = 10.0
    ca: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A server and what it gets.

    Attributes:
        name: of the target among those that are compared.
        address: of the server.
        tls: of use where the address is secure.
        method: `predict`, `classify` or `regress`; of the Open Inference Protocol `infer`.
        path: of gRPC the method's name; of REST the path.
        requests: sent in turn; of REST with their head.
        description: what is sent, in words.
        headers: the metadata of each request over gRPC; of REST they are in the heads.
    """

    name: str
    address: Address
    tls: Tls
    method: str
    path: str
    requests: tuple[bytes, ...]
    description: str
    headers: Mapping[str, str] = field(default_factory=dict)


def prepare(asked: Asked) -> Target:
    """Ask the server for the signature, make requests, and send it the first to see that it works.

    Raises:
        Unavailable: the server is not there.
        NotFound: it has no such model or version.
        InvalidArgument: no request can be made, or the server refuses the first.
        ServingError: what else it says of the first.
    """
    url = (
        asked.url if "://" in asked.url or asked.url.startswith("unix:") else f"grpc://{asked.url}"
    )
    address = parse_address(url)
    tls = Tls(ca=asked.ca)
    transport = (GrpcTransport if address.is_grpc else HttpTransport)(address, tls, asked.headers)
    wire = wire_of(is_grpc=address.is_grpc, protocol=asked.protocol)
    if asked.protocol == "v2":
        check_v2(asked.method, asked.form, is_grpc=address.is_grpc, has_bodies=bool(asked.bodies))
    elif asked.form != "auto":
        raise InvalidArgument(
            "--form is of --protocol v2: TensorFlow Serving's REST has JSON alone"
        )

    def ask(exchange: Exchange[Any]) -> Any:
        return exchange.read(transport.send(exchange, asked.timeout_s))

    try:
        signatures = _signatures(asked, wire, ask)
        made = _made(asked, address, wire, signatures)
        headers = made.headers[0] if made.headers else {}
        _try(transport.send, address, made.path, made.bodies[0], headers, asked.timeout_s)
    finally:
        transport.close()
    requests = made.bodies
    if not address.is_grpc:
        headers_of = made.headers or ({},) * len(requests)
        requests = tuple(
            [
                http_request(address, made.path, body, {**asked.headers, **headers})
                for body, headers in zip(requests, headers_of, strict=True)
            ]
        )
    return Target(
        *(_name(asked), address, tls, made.method, made.path, requests, made.description),
        headers=asked.headers,
    )


@dataclass(frozen=True, slots=True)
class _Made:
    method: str
    path: str
    bodies: tuple[bytes, ...]
    description: str
    headers: tuple[Mapping[str, str], ...] = ()  # of REST, where there are further ones


def _name(asked: Asked) -> str:
    which = asked.which
    name = f"{asked.url} {which.name}"
    if which.version is not None:
        name += f" version {which.version}"
    elif which.label is not None:
        name += f" label {which.label}"
    return name if asked.protocol == "tfs" else f"{name} by {asked.protocol}"


# -- what the server says --------------------------------------------------------------------------


def _signatures(
    asked: Asked, wire: Wire, ask: Callable[[Exchange[Any]], Any]
) -> Mapping[str, Signature]:
    try:
        return cast("Mapping[str, Signature]", ask(wire.metadata(asked.which)).signatures)
    except ServingError as error:
        error.hint = error.hint or _advice(error, asked.which.name)
        raise


def _advice(error: ServingError, model: str) -> str | None:
    """For a server that gives none."""
    if isinstance(error, Unavailable):
        return "Is a server running there?"
    if isinstance(error, NotFound):
        return f"Is {model!r} the name that the server knows the model by?"
    return None


def _try(
    send: Callable[[Exchange[None], float | None], Reply],
    address: Address,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
) -> None:
    """Send a request and raise the error that the answer is."""
    check = RestWire().status(Which("")).read  # raises what an answer says that is none

    def read(reply: Reply) -> None:
        if not address.is_grpc and not 200 <= reply.status < 300:
            check(reply)

    exchange: Exchange[None] = Exchange(path, body, read, headers)
    try:
        exchange.read(send(exchange, timeout_s))
    except ServingError as error:
        error.message = f"The server refuses the request: {error.message}"
        error.args = (error.message,)
        error.hint = error.hint or "Give a request of your own with --input FILE."
        raise


# -- requests --------------------------------------------------------------------------------------


def _made(asked: Asked, address: Address, wire: Wire, signatures: Mapping[str, Signature]) -> _Made:
    if asked.protocol == "v2":
        return _of_v2(asked, address, wire, signatures)
    if asked.bodies:
        documents = [_object(body) for body in asked.bodies]
        said = documents[0].get("signature_name")
        name = asked.signature or (said if isinstance(said, str) else "") or DEFAULT_SIGNATURE
        signature = _signature(signatures, name)
        method = _method_of(asked.method, "examples" in documents[0], signature)
        bodies = _given(asked, address, documents, method, name, signature)
        description = f"{len(bodies)} from a file" if len(bodies) > 1 else "1 from a file"
    else:
        name = asked.signature or DEFAULT_SIGNATURE
        signature = _signature(signatures, name)
        method = "predict"
        bodies, description = _random(asked, wire, name, signature)
    if address.is_grpc:
        return _Made(method, _GRPC_METHODS[method], bodies, description)
    path = wire.status(asked.which).path
    return _Made(method, f"{path}:{method}", bodies, description)


def _of_v2(
    asked: Asked, address: Address, wire: Wire, signatures: Mapping[str, Signature]
) -> _Made:
    """Requests of the Open Inference Protocol."""
    if asked.bodies:
        bodies = asked.bodies
        description = f"{len(bodies)} from a file"
        return _Made("infer", infer_path(asked.which), bodies, description)
    name = asked.signature or DEFAULT_SIGNATURE
    signature = _signature(signatures, name)
    random = np.random.default_rng(asked.seed)
    made: list[Exchange[Any]] = []
    description = ""
    while len(made) < _VARIANTS and sum(len(of.body or b"") for of in made) < _MOST_BYTES:
        feeds = random_feeds(signature, asked.rows, random)
        description = describe_feeds(feeds, signature)
        try:
            if address.is_grpc:
                made.append(wire.predict(asked.which, name, feeds, ()))
            else:
                made.append(infer_exchange(asked.which, name, feeds, asked.form))
        except Unimplemented as error:
            raise InvalidArgument(error.message, hint=error.hint) from error
    how = "" if address.is_grpc or asked.form == "auto" else f", as {asked.form}"
    bodies = tuple([of.body or b"" for of in made])
    headers = tuple([of.headers for of in made])
    return _Made("infer", made[0].path, bodies, f"{description}, random{how}", headers)


def _signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    if name in signatures:
        return signatures[name]
    there = ", ".join(of for of in signatures if not is_internal(of))
    raise InvalidArgument(
        f"The model has no signature {name!r}.", hint=f"It has {there or 'none'}: see --signature."
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise InvalidArgument(f"The request is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidArgument("The request is no JSON object, as the REST API takes it.")
    return document


def _method_of(method: Method, has_examples: bool, signature: Signature) -> str:
    if method != "auto":
        return method
    if not has_examples:
        return "predict"
    return "regress" if signature.method_name == REGRESS_METHOD_NAME else "classify"


def _given(
    asked: Asked,
    address: Address,
    documents: Sequence[dict[str, Any]],
    method: str,
    name: str,
    signature: Signature,
) -> tuple[bytes, ...]:
    """The requests of a file; the very bytes, unless another signature or gRPC is asked for."""
    if not address.is_grpc:
        if asked.signature is None:
            return asked.bodies
        named = [{**document, "signature_name": name} for document in documents]
        return tuple([json.dumps(document).encode() for document in named])
    spec = ModelSpec(asked.which.name, asked.which.version, asked.which.label, name)
    made = []
    for body in asked.bodies:
        document = Document(body)
        if method != "predict":
            examples = document.examples(cast('Literal["classify", "regress"]', method))
            made.append(encode_examples_request(spec, examples))
            continue
        arrays = document.predict_inputs(name, signature).arrays
        made.append(encode_predict_request(spec, dict(zip(signature.inputs, arrays, strict=True))))
    return tuple(made)


def _random(
    asked: Asked, wire: Wire, name: str, signature: Signature
) -> tuple[tuple[bytes, ...], str]:
    if asked.method in ("classify", "regress") or signature.method_name in (
        CLASSIFY_METHOD_NAME,
        REGRESS_METHOD_NAME,
    ):
        raise InvalidArgument(
            f"Signature {name!r} takes serialized tf.Examples, of which the features are unknown.",
            hint='Give a request with --input FILE: {"examples": [{…}]}',
        )
    random = np.random.default_rng(asked.seed)
    bodies: list[bytes] = []
    description = ""
    while len(bodies) < _VARIANTS and sum(map(len, bodies)) < _MOST_BYTES:
        feeds = random_feeds(signature, asked.rows, random)
        description = describe_feeds(feeds, signature)
        try:
            bodies.append(wire.predict(asked.which, name, feeds, ()).body or b"")
        except Unimplemented as error:
            raise InvalidArgument(error.message, hint=error.hint) from error
    return tuple(bodies), f"{description}, random"
