"""What an API gives to the server: a table of REST routes and a table of gRPC methods.

An API is a package with a function `make_api(parts) -> Api`. The server makes those that
`server.apis` lists, and those that other packages name in the entry-point group
`salver.protocols`; it serves all of them on its ports, behind one list of interceptors.
"""

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import unquote

from salver.config.models import ModelConfig
from salver.config.start_up import Configuration
from salver.inference.alike import AlikeRequest
from salver.inference.call import Inference
from salver.inference.logged import NO_LOGS, CallLogs
from salver.inference.serving import Serving
from salver.inference.traced import make_inference
from salver.instruments.log_level import set_log_level
from salver.instruments.threads import InPool, InThread
from salver.lifecycle.callers import Caller
from salver.metrics.merged import Report, report_of
from salver.metrics.registry import Metrics
from salver.openapi.description import ApiDescription
from salver.protocols.administration import Administer
from salver.protocols.forwarding import Forwarder
from salver.protocols.methods import MethodTable
from salver.tracing.sampling import Sampling
from salver.tracing.tracer import Tracer
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Actor, Need, Principal, Verb, VerbOrAccess
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

__all__ = [
    "Api",
    "ApiParts",
    "DrawPage",
    "Endpoint",
    "IsShown",
    "MakeApi",
    "Models",
    "ReadReport",
    "RestRoute",
    "TellSlow",
    "everything_is_shown",
]

Endpoint = Callable[[HttpRequest], "HttpResponse | Coroutine[Any, Any, HttpResponse] | None"]
"""Answers a request, now or later; None: there is nothing under this path after all.

`request.servable` is the model that the path names, `request.timeout_s` the time there is.
"""

ReadReport = Callable[[], Callable[[], Report]]
"""Takes down what this process has counted, on the loop; what it returns adds what all others have,
in any thread. It may wait for them."""

TellSlow = Callable[[], Sequence[Mapping[str, Any]]]
"""What is told of slow requests, the newest first; see `tracing.slow`. May wait for processes."""

DrawPage = Callable[[], Callable[[], bytes]]
"""Takes down what was counted, on the loop; what it returns makes the page, in any thread."""


IsShown = Callable[["Principal | None", str], bool]
"""Whether lists tell a principal of a model. With no principal nobody looks after that."""


def everything_is_shown(_principal: "Principal | None", _name: str) -> bool:
    """An `IsShown`, of a server that asks nobody for credentials."""
    return True


def servable_of(match: "re.Match[str]") -> ServableRequest | None:
    """The model that the groups `name`, `version` and `label` of a path name; None without a name.

    Raises:
        ValueError: the version is no number.
    """
    groups = match.groupdict()
    if not groups.get("name"):
        return None
    version, label = groups.get("version"), groups.get("label")
    return ServableRequest(
        unquote(groups["name"], errors="surrogateescape"),
        int(version) if version else None,
        unquote(label, errors="surrogateescape") if label else None,
    )


@dataclass(frozen=True, slots=True)
class RestRoute:
    """A line of the table of an API.

    Attributes:
        path: a regular expression, which all of the target has to match, with its query.
        answer: answers what does.
        methods: of HTTP; empty for all.
        servable: reads the model that is asked for out of the match. It may raise a ServingError.
        is_administrative: it changes the server or looks into it: on a port that is open to more
            people than those who administer the server it is refused.
        verb: what it does. What says nothing needs as much as there is.
        is_filtered: see `Need`.
        named_by: reads the model out of the request itself, where the path does not name it; before
            any interceptor is asked. It may raise a ServingError.
    """

    path: str
    answer: Endpoint
    methods: tuple[str, ...] = ()
    servable: "Callable[[re.Match[str]], ServableRequest | None]" = servable_of
    is_administrative: bool = False
    verb: VerbOrAccess = Verb.ADMIN
    is_filtered: bool = False
    named_by: "Callable[[HttpRequest], ServableRequest | None] | None" = None

    @property
    def need(self) -> Need:
        """What has to be permitted before it answers."""
        return Need(Verb.ADMIN if self.is_administrative else self.verb, self.is_filtered)


@dataclass(frozen=True, slots=True)
class Api:
    """What one API serves.

    Attributes:
        routes: of REST, in the order in which they are tried, those of earlier APIs first.
        methods: of gRPC.
        administrative: beginnings of the names of methods that change the server or look into it;
            see `RestRoute.is_administrative`.
        verbs: full name of a method → what it does. One that is not there needs as much as there
            is, and so does an administrative one.
        filtered: full names of the methods that look by themselves after which models the
            principal may see; see `Need`.
        headers: further header fields of its REST answers.
        rest_failed: makes the answer of a REST request that fails, also by an interceptor; it is
            told of those whose clients leave, too, by a CancelledError. None: a ServingError is
            written as JSON, and anything else is a fault of the server.
        call_failed: full name of a method → what is told of its calls that fail: the message and
            the error.
        servable_of: reads the model that a gRPC call asks for: the name of the method, the message.
        alike: full name of a method → finds, sooner, what is known of a message by an earlier one;
            see `AlikeMessages.find`. Asked on the loop.
        refresh: called when what the server can serve may have changed.
        close: called when the server drains: what would go on for ever has to end.
        describe: makes what `/openapi.json` says of its routes; None: nothing.
    """

    routes: Sequence[RestRoute] = ()
    methods: MethodTable = field(default_factory=lambda: MappingProxyType({}))
    administrative: tuple[str, ...] = ()
    verbs: Mapping[str, VerbOrAccess] = field(default_factory=lambda: MappingProxyType({}))
    filtered: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()
    rest_failed: Callable[[HttpRequest, BaseException], HttpResponse] | None = None
    call_failed: Mapping[str, Callable[[bytes, BaseException], None]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    servable_of: Callable[[str, bytes], ServableRequest | None] | None = None
    alike: Mapping[str, Callable[[bytes], AlikeRequest | None]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    refresh: Callable[[], None] | None = None
    close: Callable[[], None] | None = None
    describe: Callable[[], ApiDescription] | None = None

    def need_of(self, method: str) -> Need:
        """What has to be permitted before a method of gRPC answers."""
        is_administrative = method.startswith(self.administrative)
        verb = Verb.ADMIN if is_administrative else self.verbs.get(method, Verb.ADMIN)
        return Need(verb, method in self.filtered)


class Models(Serving, Protocol):
    """The models of a server; a `ServerCore` and a worker's own are such."""

    @property
    def configured(self) -> tuple[ModelConfig, ...]:
        """The configuration that is in effect."""
        ...

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """Version → the memory set aside for it in bytes."""
        ...

    def apply(
        self, models: tuple[ModelConfig, ...] | None, *, caller: Caller | None = None
    ) -> None:
        """Make `models` the configuration; waits for them, until the caller leaves."""
        ...

    @property
    def unloaded(self) -> frozenset[str]:
        """Names of models that are configured, and were unloaded by `set_loaded`."""
        ...

    def set_loaded(self, name: str, *, is_loaded: bool, caller: Caller | None = None) -> None:
        """Load a model of the configuration, or unload it; waits for that until they leave."""
        ...

    def in_flight(self) -> Mapping[ServableId, int]:
        """How many requests hold each available version."""
        ...


SetLogLevel = Callable[[int, Actor], None]
"""Makes all processes of the server log from a level up, as somebody requests; may wait for them.

It stands in the audit log; so does the next."""

SetSampling = Callable[[Sampling, Actor], None]
"""Makes the tracers of all processes sample so, as somebody requests; may wait for them."""


def _set_own_log_level(level: int, _actor: Actor) -> None:
    set_log_level(level)


def _nothing(_sampling: Sampling, _actor: Actor) -> None:
    """There is no tracer."""


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What an API is made of: the server around it.

    Attributes:
        models: see there.
        configuration: the flags, and the files they name.
        in_pool: runs what takes long for the loop: decoding, encoding.
        in_control: runs what may wait for models or for the disk.
        unready: why this server should get no traffic now, or None.
        is_serving: what gRPC's health service says.
        metrics: count what is answered.
        logs: take the calls that are answered.
        draw: makes the metrics page; None: of `metrics`.
        draw_history: makes what the dashboard is told of the past; None where it is kept nowhere.
        read_all: reads what all processes have counted; None: of `metrics`.
        set_log_level: see there.
        is_shown: see `IsShown`.
        administer: does what administrators request; None where nobody can.
        tracer: takes notes of requests; None where nobody does.
        tell_slow: the slow requests of all processes; see there.
        set_sampling: see there.
        forwarder: hands on requests for models that are not here; None where nobody does.
        more: APIs that the server itself brings.
    """

    models: Models
    configuration: Configuration
    in_pool: InPool
    in_control: InThread
    unready: Callable[[], str | None]
    is_serving: Callable[[], bool]
    metrics: Metrics
    logs: CallLogs = NO_LOGS
    draw: DrawPage | None = None
    draw_history: DrawPage | None = None
    read_all: ReadReport | None = None
    set_log_level: SetLogLevel = _set_own_log_level
    is_shown: IsShown = everything_is_shown
    administer: Administer | None = None
    tracer: Tracer | None = None
    tell_slow: TellSlow = list
    set_sampling: SetSampling = _nothing
    forwarder: Forwarder | None = None
    more: Sequence[Api] = ()

    def read_report(self) -> Callable[[], Report]:
        """What the whole server has counted; see `ReadReport`."""
        if self.read_all is not None:
            return self.read_all()
        families = self.metrics.read()
        return lambda: report_of(families())

    def inference(self, serving: Serving | None = None, *, is_deadline: bool = False) -> Inference:
        """The inference call, for the codecs of an API; see `Inference`.

        Args:
            serving: finds the versions; by default `models` do.
            is_deadline: see there.
        """
        return make_inference(
            serving or self.models,
            self.in_pool,
            self.logs,
            is_deadline=is_deadline,
            tracer=self.tracer,
        )


MakeApi = Callable[[ApiParts], "Api | None"]
"""Makes an API; None where the configuration has none."""
