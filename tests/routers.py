"""The REST API of a server, less its sockets."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from salver.inference.context import Interceptor
from salver.inference.serving import Serving
from salver.metrics.outcomes import Outcomes
from salver.operations.health_pages import health_api
from salver.operations.metrics_page import MetricsPage
from salver.protocols.api import Api, RestRoute
from salver.protocols.rest_errors import no_route, refusal_or_fault
from salver.protocols.router import Router
from salver.tfs.rest.api import ServingApi
from salver.tfs.rest.calls import InferenceCalls
from salver.tracing.tracer import Tracer
from salver.transport.messages import HttpRequest

__all__ = ["answer_of", "router_of"]


def router_of(
    serving: Serving,
    *,
    in_pool: Any,
    unready: Callable[[], str | None] = lambda: None,
    is_cors_enabled: bool = False,
    outcomes: Outcomes | None = None,
    page: MetricsPage | None = None,
    more: Sequence[Api] = (),
    interceptors: Sequence[Interceptor] = (),
    timeout_s: float | None = 30.0,
    tracer: Tracer | None = None,
) -> Router:
    """TensorFlow Serving's API, health, a page of metrics and more, as a server puts them."""
    calls = InferenceCalls(serving, in_pool=in_pool, timeout_s=None, tracer=tracer)
    api = ServingApi(serving, calls, outcomes or Outcomes(), is_cors_enabled=is_cors_enabled).api()
    pages = () if page is None else (page.api(),)
    return Router(
        [*pages, api, health_api(unready), *more],
        failed=refusal_or_fault,
        not_found=no_route,
        interceptors=interceptors,
        timeout_s=timeout_s,
    )


def answer_of(routes: Sequence[RestRoute], method: str, target: str) -> Any:
    """What the first route answers whose path is that of a target; None where there is none."""
    route = next((each for each in routes if re.fullmatch(each.path, target)), None)
    return None if route is None else route.answer(HttpRequest(method, target))
