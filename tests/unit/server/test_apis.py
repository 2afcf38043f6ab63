"""Every REST route stands in the document of the APIs, and nothing else does."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.local_sources import local_sources

from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.management.core import CoreOptions, ServerCore
from salver.metrics.registry import Metrics
from salver.openapi.description import ApiDescription, Operation
from salver.protocols.api import Api, ApiParts, RestRoute
from salver.server.apis import make_apis

_VALUES = {"name": "m", "version": "3", "label": "stable"}
_STANDS_FOR = {"HEAD": "GET"}


def _load(*_arguments: Any) -> Any:
    raise NotImplementedError


async def _here(call: Callable[[], Any], size: int = 0) -> Any:
    return call()


@pytest.fixture
def apis() -> Iterator[list[Api]]:
    core = ServerCore(_load, ("tensorflow",), CoreOptions(), local_sources())
    options = ServerOptions(rest_api_port=1, enable_playground=True)
    parts = ApiParts(
        core,
        read_configuration(options, ()),
        in_pool=_here,
        in_control=_here,
        unready=lambda: None,
        is_serving=lambda: True,
        metrics=Metrics(),
    )
    yield make_apis(parts)
    core.close()


def described(api: Api) -> ApiDescription:
    return ApiDescription() if api.describe is None else api.describe()


def target_of(operation: Operation) -> str:
    return re.sub(r"\{(\w+)\}", lambda place: _VALUES.get(place[1], "x"), operation.path)


def found(apis: list[Api], method: str, target: str) -> "tuple[Api, RestRoute] | None":
    """The route that a router would take."""
    for api in apis:
        for route in api.routes:
            if (not route.methods or method in route.methods) and re.fullmatch(route.path, target):
                return api, route
    return None


def test_every_operation_is_a_route_of_the_api_that_describes_it(apis: list[Api]) -> None:
    for api in apis:
        for operation in described(api).operations:
            hit = found(apis, operation.method.upper(), target_of(operation))
            assert hit is not None, operation.path
            owner, route = hit
            assert owner is api, operation.path
            assert route.path not in described(api).unlisted, operation.path


def test_every_route_is_described_or_says_why_not(apis: list[Api]) -> None:
    for api in apis:
        about = described(api)
        hits = set()
        for operation in about.operations:
            hit = found(apis, operation.method.upper(), target_of(operation))
            if hit is not None:
                hits.add((hit[1].path, operation.method.upper()))
        for route in api.routes:
            if route.path in about.unlisted:
                continue
            methods = {_STANDS_FOR.get(method, method) for method in route.methods}
            described_methods = {method for path, method in hits if path == route.path}
            assert described_methods, f"{route.path} is described nowhere"
            assert methods <= described_methods, route.path


def test_a_route_for_versions_and_labels_is_described_for_both(apis: list[Api]) -> None:
    for api in apis:
        about = described(api)
        for route in api.routes:
            groups = re.compile(route.path).groupindex.keys() & _VALUES.keys()
            named: set[str] = set()
            for operation in about.operations:
                hit = found(apis, operation.method.upper(), target_of(operation))
                if hit is not None and hit[1] is route:
                    named |= set(re.findall(r"\{(\w+)\}", operation.path))
            if route.path not in about.unlisted and named:
                assert groups - named <= _not_told(route), route.path


def _not_told(route: RestRoute) -> set[str]:
    # The status of a label is that of the model, as in the reference.
    return {"label"} if "(?:/metadata)?" in route.path else set()


def test_what_is_left_out_is_there(apis: list[Api]) -> None:
    for api in apis:
        paths = {route.path for route in api.routes}
        for path, why in described(api).unlisted.items():
            assert path in paths
            assert why


def test_every_operation_fills_in_its_path_and_has_a_name_of_its_own(apis: list[Api]) -> None:
    ids = []
    tags = {tag["name"] for api in apis for tag in described(api).tags}
    for api in apis:
        for operation in described(api).operations:
            places = set(re.findall(r"\{(\w+)\}", operation.path))
            parameters = operation.about.get("parameters", ())
            assert {each["name"] for each in parameters if each["in"] == "path"} == places
            assert set(operation.about["tags"]) <= tags
            ids.append(operation.about["operationId"])
    assert len(ids) == len(set(ids))
