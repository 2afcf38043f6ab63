"""Routes under `/admin/v1/`, in JSON.

What is written may be YAML too, by its `Content-Type`. An answer that reads gives an `ETag`, a
request that changes may name it with `If-Match`; with `?validate=true` nothing is changed.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import parse_qsl

from salver.access.permits import covers_all_models
from salver.config.changes import (
    ANY_TAG,
    Change,
    Condition,
    DeleteLabel,
    DeleteModel,
    PutBatching,
    PutConfig,
    PutLabel,
    PutModel,
)
from salver.config.model_documents import read_config, read_model, read_parameters
from salver.errors import Aborted, InvalidArgument, PermissionDenied
from salver.operations.admin.calls import AdminCalls
from salver.protocols.actors import actor_of
from salver.protocols.administration import (
    Act,
    Action,
    Administered,
    AdminRequest,
    MakeChange,
    ReadAudit,
    ReadConfig,
    ReadModel,
    ReadRevisions,
)
from salver.protocols.api import RestRoute
from salver.protocols.rest_errors import error_page
from salver.transport.host_rules import is_of_foreign_page
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Verb

__all__ = ["AdminRoutes"]

_ROOT: Final = "/admin/v1"
_MODEL: Final = rf"{_ROOT}/models/(?P<name>[^/:?#]+)"
_QUERY: Final = r"(?:\?[^#]*)?"
_READ: Final = ("GET", "HEAD")
_NOT_KEPT: Final = ("Cache-Control", "no-store")
_LARGEST_NUMBER: Final = 18  # digits
_MOST_ENTRIES: Final = 100

Answer = Coroutine[Any, Any, HttpResponse]
_Respond = Callable[[HttpRequest], Answer]


class AdminRoutes:
    """Answers them. Belongs to the loop."""

    def __init__(self, calls: AdminCalls) -> None:
        """Answer by `calls`."""
        self._calls = calls

    def routes(self) -> tuple[RestRoute, ...]:
        """Their table."""
        return (
            _route(f"{_ROOT}/config", {"GET": self._read_config, "PUT": self._put_config}),
            _route(
                _MODEL,
                {"GET": self._read_model, "PUT": self._put_model, "DELETE": self._delete_model},
            ),
            _route(
                rf"{_MODEL}/labels/(?P<label>[^/?#]+)",
                {"PUT": self._put_label, "DELETE": self._delete_label},
            ),
            _route(
                f"{_MODEL}/batching",
                {"PUT": self._put_batching, "DELETE": self._delete_batching},
            ),
            *(
                _route(f"{_MODEL}:{action}", {"POST": self._acting(action)})
                for action in ("reload", "load", "unload", "clear_quarantine")
            ),
            _route(f"{_ROOT}/config/revisions", {"GET": self._revisions}),
            _route(f"{_ROOT}/audit", {"GET": self._audit}),
        )

    # -- reading ---------------------------------------------------------------------------------

    async def _read_config(self, request: HttpRequest) -> HttpResponse:
        return await self._read(request, ReadConfig())

    async def _read_model(self, request: HttpRequest) -> HttpResponse:
        return await self._read(request, ReadModel(_name(request)))

    async def _revisions(self, request: HttpRequest) -> HttpResponse:
        revision = _query(request, "revision").get("revision")
        number = None if revision is None else _number(revision, "revision")
        return await self._read(request, ReadRevisions(number))

    async def _audit(self, request: HttpRequest) -> HttpResponse:
        limit = _query(request, "limit").get("limit")
        most = _MOST_ENTRIES if limit is None else _number(limit, "limit")
        return await self._read(request, ReadAudit(most))

    async def _read(self, request: HttpRequest, asked: AdminRequest) -> HttpResponse:
        if not isinstance(asked, (ReadRevisions, ReadAudit)):
            _query(request)
        answer = await self._calls(lambda: asked, actor_of(request, request.method), _as_it_is)
        if answer.tag and f'"{answer.tag}"' in _tags(request, b"if-none-match"):
            return HttpResponse(304, headers=(("ETag", f'"{answer.tag}"'), _NOT_KEPT))
        return _response(answer)

    # -- changing --------------------------------------------------------------------------------

    async def _put_config(self, request: HttpRequest) -> HttpResponse:
        return await self._change(
            request, lambda: PutConfig(read_config(request.body, _ending(request)))
        )

    async def _put_model(self, request: HttpRequest) -> HttpResponse:
        name, is_of_one = _name(request), not _is_of_all(request)
        return await self._change(
            request, lambda: PutModel(read_model(request.body, _ending(request), name), is_of_one)
        )

    async def _delete_model(self, request: HttpRequest) -> HttpResponse:
        return await self._change(request, lambda: DeleteModel(_name(request)))

    async def _put_label(self, request: HttpRequest) -> HttpResponse:
        name, label = _name(request), _label(request)
        return await self._change(request, lambda: PutLabel(name, label, _version(request.body)))

    async def _delete_label(self, request: HttpRequest) -> HttpResponse:
        return await self._change(request, lambda: DeleteLabel(_name(request), _label(request)))

    async def _put_batching(self, request: HttpRequest) -> HttpResponse:
        name = _name(request)
        return await self._change(
            request, lambda: PutBatching(name, read_parameters(request.body, _ending(request)))
        )

    async def _delete_batching(self, request: HttpRequest) -> HttpResponse:
        return await self._change(request, lambda: PutBatching(_name(request), None))

    async def _change(self, request: HttpRequest, read: Callable[[], Change]) -> HttpResponse:
        _check_page(request)
        condition = _condition(request)
        is_dry_run = _flag(_query(request, "validate").get("validate", "false"))
        try:
            answer = await self._calls(
                lambda: MakeChange(read(), condition, is_dry_run),
                actor_of(request, request.method),
                _as_it_is,
            )
        except Aborted as error:  # `Stale`, which other processes know by its code alone
            return error_page(412, error.message, error.hint)
        return _response(answer)

    # -- acting ----------------------------------------------------------------------------------

    def _acting(self, action: Action) -> _Respond:
        async def act(request: HttpRequest) -> HttpResponse:
            _check_page(request)
            _query(request)
            _check_unconditional(request)
            asked, actor = Act(action, _name(request)), actor_of(request, request.method)
            if action in ("load", "unload"):
                return _response(await self._calls.wait_for_model(asked, actor, _as_it_is))
            return _response(await self._calls(lambda: asked, actor, _as_it_is))

        return act


def _route(path: str, answers: dict[str, _Respond]) -> RestRoute:
    """A line of the table; what no method of it answers is refused with those that do."""
    by_method = {**answers, **({"HEAD": answers["GET"]} if "GET" in answers else {})}
    allowed = ", ".join(by_method)

    def answer(request: HttpRequest) -> "HttpResponse | Answer":
        respond = by_method.get(request.method)
        if respond is not None:
            return respond(request)
        verb = "is" if len(answers) == 1 else "are"
        page = error_page(
            405, f"{request.method} is not allowed here: {' and '.join(answers)} {verb}"
        )
        page.headers = (("Allow", allowed),)
        return page

    return RestRoute(f"{path}{_QUERY}", answer, is_administrative=True)


def _as_it_is(answer: Administered) -> Administered:
    return answer


def _response(answer: Administered) -> HttpResponse:
    headers: tuple[tuple[str, str], ...] = (_NOT_KEPT,)
    if answer.tag:
        headers = (("ETag", f'"{answer.tag}"'), *headers)
    return HttpResponse(200, answer.body, headers=headers)


# -- what a request says -------------------------------------------------------------------------


def _check_page(request: HttpRequest) -> None:
    if is_of_foreign_page(request):
        raise PermissionDenied("A page of another origin may not administer the server")


def _check_unconditional(request: HttpRequest) -> None:
    """Refuse a condition where none is looked at: whoever sends one relies on it.

    Raises:
        InvalidArgument: there is one.
    """
    for name in ("If-Match", "If-None-Match"):
        if request.header(name.lower().encode()) is not None:
            raise InvalidArgument(f"{name} is for changes of the configuration: here it is none")


def _is_of_all(request: HttpRequest) -> bool:
    """Whether who requests it administers all models, as the paths of one do not ask for."""
    principal = request.principal
    if principal is None:  # the server asks nobody
        return True
    return Verb.ADMIN in principal.role.verbs and covers_all_models(principal.role)


def _name(request: HttpRequest) -> str:
    assert request.servable is not None  # the path names it
    return _text(request.servable.name)


def _label(request: HttpRequest) -> str:
    assert request.servable is not None
    return _text(request.servable.label or "")


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("The path is not UTF-8") from None
    return name


def _ending(request: HttpRequest) -> str:
    kind = (request.header(b"content-type") or b"").lower()
    return ".yaml" if b"yaml" in kind else ".json"


def _query(request: HttpRequest, *known: str) -> dict[str, str]:
    """The parameters behind the path. One that means nothing may be a mistake that matters.

    Raises:
        InvalidArgument: there are others than those that are known.
    """
    found = dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
    for name in found:
        if name not in known:
            what = f"{', '.join(known)} is known" if known else "none is known here"
            raise InvalidArgument(f"The request has a parameter {name[:64]}: {what}")
    return found


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", ""):
        raise InvalidArgument(f"validate must be true or false, not {text[:64]}")
    return text.lower() not in ("false", "0")


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _LARGEST_NUMBER:
        raise InvalidArgument(f"{what} must be a number, not {text[:64]}")
    return int(text)


def _tags(request: HttpRequest, field: bytes) -> list[str]:
    """The tags of a header field, in quotes, as they are written. Source: RFC 9110 §13.1."""
    value = (request.header(field) or b"").decode("latin-1")
    return [tag.strip() for tag in value.split(",") if tag.strip()]


def _condition(request: HttpRequest) -> Condition:
    tags = _tags(request, b"if-match")
    if not tags and request.header(b"if-match") is not None:
        raise InvalidArgument("If-Match is empty", hint="Without it a change has no condition.")
    new = _tags(request, b"if-none-match")
    if new != [ANY_TAG] and request.header(b"if-none-match") is not None:
        raise InvalidArgument("If-None-Match must be * here: the model is to be new")
    return Condition(tuple(map(_tag, tags)), is_new=bool(new))


def _tag(text: str) -> str:
    """A tag of a condition without its quotes. A `*` in quotes is one that nothing has."""
    if text in (ANY_TAG, f'"{ANY_TAG}"'):
        return text
    if not (len(text) > 1 and text[0] == text[-1] == '"'):
        raise InvalidArgument(
            f"If-Match must be an ETag in quotes, not {text[:64]}",
            hint="Give it as an answer has it; a weak one never matches.",
        )
    return text[1:-1]


def _version(body: bytes) -> int:
    """The version of a body `{"version": 3}`.

    Raises:
        InvalidArgument: it has none.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    version = said.get("version") if isinstance(said, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 1 << 63:
        raise InvalidArgument('The body must be {"version": NUMBER}')
    return version
