"""Whether the server lives, and whether it should get traffic: for those who start servers."""

import json
from collections.abc import Callable
from typing import Final

from salver.operations.description import describe_health
from salver.protocols.api import Api, ApiParts, RestRoute
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Verb

__all__ = ["health_api", "health_response", "make_api"]

_QUERY: Final = r"(?:\?.*)?"
_METHODS: Final = ("GET", "HEAD")
_NOT_KEPT: Final = ("Cache-Control", "no-store")


def make_api(parts: ApiParts) -> Api:
    """See `health_api`."""
    return health_api(parts.unready)


def health_api(unready: Callable[[], str | None]) -> Api:
    """The routes under `/healthz/`; `unready`: why this server should get no traffic, or None."""

    def live(_request: HttpRequest) -> HttpResponse:
        return health_response(None)

    def ready(_request: HttpRequest) -> HttpResponse:
        return health_response(unready())

    return Api(
        routes=(
            _route(f"/healthz/live{_QUERY}", live),
            _route(f"/healthz/ready{_QUERY}", ready),
        ),
        describe=describe_health,
    )


def _route(path: str, answer: Callable[[HttpRequest], HttpResponse]) -> RestRoute:
    return RestRoute(path, answer, _METHODS, verb=Verb.HEALTH, is_filtered=True)


def health_response(problem: str | None) -> HttpResponse:
    """GET /healthz/…: 200, or 503 with what is amiss."""
    said = {"status": "ok"} if problem is None else {"status": "unavailable", "reason": problem}
    text = json.dumps(said, indent=None if problem is None else 1, ensure_ascii=False) + "\n"
    return HttpResponse(200 if problem is None else 503, text.encode(), headers=(_NOT_KEPT,))
