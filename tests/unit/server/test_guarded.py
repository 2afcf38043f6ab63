"""Where access is controlled, no route and no method answers strangers, on whichever port."""

import asyncio
import gzip
import hashlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.local_sources import local_sources
from tests.shelf import response_of

from salver._pb import message_class
from salver.access.gate import Gate
from salver.access.guard import Guard, make_guard
from salver.config.options import ServerOptions
from salver.config.start_up import Configuration, read_configuration
from salver.errors import PermissionDenied, Unauthenticated
from salver.management.core import CoreOptions, ServerCore
from salver.management.readiness import Readiness
from salver.metrics.registry import Metrics
from salver.peers.api import MapApi
from salver.protocols.api import Api, ApiParts, RestRoute
from salver.protocols.methods import Call, Method, Stream
from salver.protocols.rest_errors import no_route, refusal_or_fault
from salver.protocols.router import Router
from salver.server.api_servers import ApiServers
from salver.server.apis import make_apis
from salver.server.grpc_methods import method_table
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.access import Access, Verb, VerbOrAccess

HOST = "127.0.0.1"
KEYS = {verb: f"salver_{verb.value}_{verb.value[0] * 32}" for verb in Verb}
"""A key for each verb, and for no other."""

OPEN = {
    "/": "the playground's page",
    "/playground/js/main.js": "its script",
    "/docs": "the page of the API",
    "/favicon.ico": "an icon",
}
"""What strangers are answered, beside the preflights of browsers."""

EVERYTHING = {
    "enable_playground": True,
    "enable_session_service": True,
    "enable_grpc_healthcheck_service": True,
    "enable_profiler": True,
    "rest_api_enable_cors_support": True,
}


def _load(*_arguments: Any) -> Any:
    raise NotImplementedError


async def _here(call: Callable[[], Any], size: int = 0) -> Any:
    return call()


@pytest.fixture(scope="module")
def auth_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Roles of one verb each, for all models."""
    path = tmp_path_factory.mktemp("auth") / "auth.json"
    lines = [
        f"{verb.value} {hashlib.sha256(key.encode()).hexdigest()} {verb.value}\n"
        for verb, key in KEYS.items()
    ]
    path.with_name("keys.txt").write_text("".join(lines))
    roles = {verb.value: {"verbs": [verb.value]} for verb in Verb}
    path.write_text(json.dumps({"schema": 1, "api_keys": {"file": "keys.txt"}, "roles": roles}))
    return path


@pytest.fixture(scope="module")
def core() -> Iterator[ServerCore]:
    core = ServerCore(_load, ("tensorflow",), CoreOptions(), local_sources())
    yield core
    core.close()


def configured(auth_file: Path, **flags: Any) -> Configuration:
    options = {**EVERYTHING, "auth_config_file": str(auth_file), "host": HOST, **flags}
    return read_configuration(ServerOptions(**options), ())


def guarded_parts(core: ServerCore, configuration: Configuration) -> ApiParts:
    return ApiParts(
        core,
        configuration,
        in_pool=_here,
        in_control=_here,
        unready=Readiness(core).problem,
        is_serving=lambda: True,
        metrics=Metrics(),
        draw_history=lambda: lambda: b"{}",
    )


def guard_of(configuration: Configuration) -> Guard:
    guard = make_guard(configuration.auth)
    assert guard is not None
    guard.start()
    return guard


@pytest.fixture(scope="module")
def guard(auth_file: Path) -> Iterator[Guard]:
    guard = guard_of(configured(auth_file))
    yield guard
    guard.close()


@pytest.fixture(scope="module")
def apis(core: ServerCore, auth_file: Path) -> list[Api]:
    async def made() -> list[Api]:
        return make_apis(guarded_parts(core, configured(auth_file, rest_api_port=1, port=1)))

    return asyncio.run(made())


# -- the tables of all APIs ----------------------------------------------------------------------


def routes_of(apis: list[Api]) -> list[tuple[Api, RestRoute]]:
    return [(api, route) for api in apis for route in api.routes]


def targets(route: RestRoute) -> "st.SearchStrategy[str]":
    return st.from_regex(re.compile(route.path, re.ASCII), fullmatch=True)


async def answered(
    guard: Guard, api: Api, route: RestRoute, target: str, key: str = ""
) -> HttpResponse:
    router = Router(
        [replace(api, routes=[route])],
        failed=refusal_or_fault,
        not_found=no_route,
        interceptors=[Gate(guard)],
    )
    method = route.methods[0] if route.methods else "GET"
    headers = Headers(f"X-Api-Key: {key}\r\n".encode() if key else b"")
    return await response_of(router(HttpRequest(method, target, headers)))


def test_only_pages_and_preflights_are_open(apis: list[Api]) -> None:
    found = [(route.path, route.methods) for _, route in routes_of(apis) if is_open(route)]
    assert len(found) == 3
    for path, methods in found:
        if methods != ("OPTIONS",):
            assert [target for target in OPEN if re.fullmatch(path, target)] == list(OPEN)


def is_open(route: RestRoute) -> bool:
    return route.need.verb is Access.OPEN


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_no_route_answers_strangers(apis: list[Api], guard: Guard, data: st.DataObject) -> None:
    for api, route in routes_of(apis):
        if not is_open(route):
            target = data.draw(targets(route))
            response = asyncio.run(answered(guard, api, route, target))
            assert response.status == 401, target
            assert ("WWW-Authenticate", 'Bearer realm="salver"') in response.headers
            assert json.loads(response.body)["error"] == "Credentials are missing"


def apis_of_cloud(core: ServerCore, auth_file: Path, cloud: str) -> list[Api]:
    configuration = configured(auth_file, cloud_contract=cloud, rest_api_port=1, port=1)

    async def made() -> list[Api]:
        return make_apis(guarded_parts(core, configuration))

    return asyncio.run(made())


@pytest.mark.parametrize(
    ("cloud", "own"),
    [
        ("sagemaker", {"/ping", "/invocations", "/execution-parameters"}),
        ("vertex", {"/of/health", "/of/predictions"}),
    ],
)
def test_no_route_of_a_cloud_answers_strangers(
    core: ServerCore,
    auth_file: Path,
    guard: Guard,
    cloud: str,
    own: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/of/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/of/predictions")
    apis = apis_of_cloud(core, auth_file, cloud)
    found = set()
    for api, route in routes_of(apis):
        for target in (each for each in own if re.fullmatch(route.path, each)):
            for key in ("", "salver_metadata_wrong", KEYS[Verb.METRICS]):
                status = asyncio.run(answered(guard, api, route, target, key)).status
                assert status == (403 if key == KEYS[Verb.METRICS] else 401), (target, key)
            found.add(target)
    assert found == own


def test_the_map_of_peers_is_not_told_to_strangers(guard: Guard) -> None:
    api = MapApi(_load, _load, _here, is_guarded=True).api()
    (route,) = api.routes
    for key in ("", "salver_metadata_wrong"):
        assert asyncio.run(answered(guard, api, route, "/cluster/v1/map", key)).status == 401
    key = KEYS[Verb.PREDICT]
    assert asyncio.run(answered(guard, api, route, "/cluster/v1/map", key)).status == 403


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_no_route_answers_who_may_all_else(
    apis: list[Api], guard: Guard, data: st.DataObject
) -> None:
    for api, route in routes_of(apis):
        verb = route.need.verb
        if isinstance(verb, Verb):
            target = data.draw(targets(route))
            for other in set(Verb) - {verb}:
                response = asyncio.run(answered(guard, api, route, target, KEYS[other]))
                # A version that is no number was refused before anybody asked for it.
                assert response.status in (403, 400, 404), target
                if response.status == 403:
                    assert "may not do this" in json.loads(response.body)["error"]


def methods_of(apis: list[Api], guard: Guard) -> dict[str, Method]:
    return dict(method_table(apis, [Gate(guard)], is_guarded=True))


class WithKey(Call):
    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def header(self, name: bytes) -> bytes | None:
        return self._key.encode() if name == b"x-api-key" and self._key else None


async def called(method: Method, key: str = "") -> object:
    if not isinstance(method, Stream):
        return await response_of(method(b"", WithKey(key)))

    async def requests() -> AsyncIterator[bytes]:
        yield b""

    return [response async for response in method.method(requests(), WithKey(key))]


async def test_no_method_answers_strangers(apis: list[Api], guard: Guard) -> None:
    table = methods_of(apis, guard)
    assert len(table) > 30
    for path, method in table.items():
        with pytest.raises(Unauthenticated):
            pytest.fail(f"{path}: {await called(method)!r}")


def need_of(apis: list[Api], path: str) -> VerbOrAccess | None:
    return next((api.need_of(path).verb for api in apis if path in api.methods), None)


async def test_no_method_answers_who_may_all_else(apis: list[Api], guard: Guard) -> None:
    asked = 0
    for path, method in methods_of(apis, guard).items():
        verb = need_of(apis, path)
        if isinstance(verb, Verb) and not isinstance(method, Stream):
            for other in set(Verb) - {verb}:
                with pytest.raises(PermissionDenied):
                    pytest.fail(f"{path}: {await called(method, KEYS[other])!r}")
                asked += 1
    assert asked > 80


def test_what_administers_needs_the_verb_for_that(apis: list[Api]) -> None:
    for _, route in routes_of(apis):
        if route.is_administrative:
            assert route.need.verb is Verb.ADMIN
    administrative = {
        path
        for api in apis
        for path in api.methods
        if path.startswith(api.administrative) or "RepositoryModel" in path
    }
    assert len(administrative) > 8
    assert {need_of(apis, path) for path in administrative} == {Verb.ADMIN}


# -- on ports ------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


@asynccontextmanager
async def opened(core: ServerCore, auth_file: Path, **flags: Any) -> AsyncIterator[ApiServers]:
    configuration = configured(auth_file, **flags)
    guard = guard_of(configuration)
    servers = ApiServers(guarded_parts(core, configuration), guard=guard)
    try:
        await servers.open(is_rest_needed=True, is_grpc_needed=True)
        yield servers
    finally:
        await servers.drain(0)
        guard.close()


def client_of(where: str, *, is_http2: bool = False) -> httpx.AsyncClient:
    if not where.startswith("unix:"):
        return httpx.AsyncClient(base_url=f"http://{where}", http2=is_http2, http1=not is_http2)
    transport = httpx.AsyncHTTPTransport(uds=where.removeprefix("unix:"))
    return httpx.AsyncClient(base_url="http://localhost", transport=transport)


async def paths_of(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    document = (
        await client.get("/openapi.json", headers={"x-api-key": KEYS[Verb.METADATA]})
    ).json()
    return [
        (method.upper(), re.sub(r"\{\w+\}", "1", path))
        for path, about in document["paths"].items()
        for method in about
        if method in ("get", "post", "put", "delete")
    ]


@pytest.mark.parametrize("is_http2", [False, True])
async def test_every_documented_path_asks_for_credentials_on_every_port(
    core: ServerCore, auth_file: Path, tmp_path: Path, is_http2: bool
) -> None:
    flags = {"port": free_port(), "rest_api_port": free_port()}
    unix = f"unix:{tmp_path / 's'}"
    places = [f"{HOST}:{flags['port']}", f"{HOST}:{flags['rest_api_port']}"]
    async with opened(core, auth_file, grpc_socket_path=unix[5:], **flags):
        for place in places if is_http2 else (*places, unix):
            async with client_of(place, is_http2=is_http2) as client:
                paths = await paths_of(client)
                assert len(paths) > 20
                others = [("GET", "/metrics"), ("GET", "/admin/v1/history"), ("GET", "/no/such"),
                          ("GET", "/playground/about"), ("GET", "/v1/nothing"), ("PUT", "/v2/x"),
                          ("GET", "/playground/labels?model=m&version=1")]  # fmt: skip
                for method, path in (*paths, *others):
                    response = await client.request(method, path)
                    assert response.status_code == 401, (place, method, path)
                    wrong = {"authorization": "Bearer salver_metadata_wrong"}
                    response = await client.request(method, path, headers=wrong)
                    assert response.status_code == 401, (place, method, path)
                    assert "wrong" not in response.text
                for path in OPEN:
                    assert (await client.get(path)).status_code == 200, path
                for path in ("/v1/models/m:predict", "/v2/models/m/infer"):
                    origin = {"origin": "http://localhost"}
                    response = await client.options(path, headers=origin)
                    assert response.status_code == 200, path


async def services_of(channel: grpc.aio.Channel) -> list[str]:
    request = message_class("grpc.reflection.v1.ServerReflectionRequest")
    response = message_class("grpc.reflection.v1.ServerReflectionResponse")
    reflect = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    call = reflect(
        iter([request(list_services="").SerializeToString()]),
        metadata=(("x-api-key", KEYS[Verb.METADATA]),),
        wait_for_ready=True,
    )
    answer = response.FromString(await call.read())
    call.cancel()
    return [service.name for service in answer.list_services_response.service]


async def _no_answers(_requests: Any, _call: Call) -> Any:
    yield b""


async def code_of(
    channel: grpc.aio.Channel, path: str, method: Method | None, *metadata: tuple[str, str]
) -> grpc.StatusCode:
    more: dict[str, Any] = {"metadata": metadata, "timeout": 30}
    if not isinstance(method, Stream):
        call = channel.unary_unary(path)(b"", **more)
    elif method.is_request_single:
        call = channel.unary_stream(path)(b"", **more)
    else:
        # grpc.aio forgets the status of a call that ends while it writes.
        call = channel.stream_stream(path)(**more)
    code: grpc.StatusCode = await call.code()
    return code


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_every_method_that_reflection_tells_of_asks_for_credentials(
    core: ServerCore, apis: list[Api], auth_file: Path, tmp_path: Path, transport: str
) -> None:
    flags = {"port": free_port(), "rest_api_port": free_port(), "grpc_transport": transport}
    unix = f"unix:{tmp_path / 's'}"
    places = [f"{HOST}:{flags['port']}", unix]
    if transport == "native":
        places.append(f"{HOST}:{flags['rest_api_port']}")
    methods: dict[str, Method | None] = {
        path: method for api in apis for path, method in api.methods.items()
    }
    methods["/no.such/Method"] = None
    for version in ("v1", "v1alpha"):
        methods[f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"] = Stream(
            _no_answers
        )
    async with opened(core, auth_file, grpc_socket_path=unix[5:], **flags):
        for place in places:
            async with grpc.aio.insecure_channel(place) as channel:
                served = set(await services_of(channel))
                assert served <= {path.split("/")[1] for path in methods}
                for path, method in methods.items():
                    for metadata in ((), (("authorization", "Bearer salver_metadata_wrong"),)):
                        code = await code_of(channel, path, method, *metadata)
                        assert code is grpc.StatusCode.UNAUTHENTICATED, (place, path)
                with_key = ("x-api-key", KEYS[Verb.HEALTH])
                code = await code_of(channel, "/no.such/Method", None, with_key)
                assert code is grpc.StatusCode.UNIMPLEMENTED
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                assert await check(b"", metadata=(with_key,), timeout=30) == b"\x08\x01"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("is_http2", [False, True])
async def test_the_access_log_says_who_asked_and_no_key(
    core: ServerCore, auth_file: Path, tmp_path: Path, is_http2: bool
) -> None:
    port, log = free_port(), tmp_path / "access.log"
    key = KEYS[Verb.METADATA]
    asked = [
        ("/v1/models", {"x-api-key": key}, b"", "metadata"),
        ("/v1/models", {}, b"", "anonymous"),
        ("/v1/models", {"authorization": f"Bearer {key}"}, b"", "metadata"),
        ("/v1/models", {"authorization": f"Bearer {key}x"}, b"", None),
        ("/", {"x-api-key": key}, b"", None),
        ("/openapi.json", {"x-api-key": key}, b"", "metadata"),
        ("/metrics", {"x-api-key": key}, gzip.compress(b"x"), "metadata"),
        ("/no/such", {"x-api-key": key}, b"", "metadata"),
        (f"/v1/models/m?api_key={key}", {}, b"", "anonymous"),
        (f"/v1/models/{key}", {"x-api-key": key}, b"", "metadata"),
    ]
    async with (
        opened(core, auth_file, port=port, access_log=str(log)),
        client_of(f"{HOST}:{port}", is_http2=is_http2) as client,
    ):
        for path, headers, body, _ in asked:
            more = {"content-encoding": "gzip"} if body else {}
            await client.request("GET", path, headers=headers | more, content=body)
    assert [line.get("principal") for line in lines_of(log)] == [each[3] for each in asked]
    statuses = [200, 401, 200, 401, 200, 200, 403, 404, 401, 404]
    assert [line["status"] for line in lines_of(log)] == statuses
    assert key[-16:] not in log.read_text()
