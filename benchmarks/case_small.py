"""The small model, half_plus_two: what a request costs when the model costs nothing."""

from contestants import OURS, YARDSTICK, Running, bare_loop, echo, salver
from figures import Result, least
from stage import Stage, kinds, transports
from tasks import small
from turns import Lane, Race, chart

BARE = "bare loop"
AIO_ECHO = "grpc.aio echo"
BARE_ECHO = "bare HTTP/2 echo"
CONNECTIONS = (16, 64)
CALLS = {
    "16 calls over 4 connections": (4, 4),
    "16 connections": (16, 1),
    "64 connections": (64, 1),
}


def rest(stage: Stage) -> Result:
    """REST beside a loop that only parses and runs, and beside other servers."""
    result = Result("rest")
    starts = {"Salver": salver(), BARE: bare_loop}
    starts |= stage.others(is_half_plus_two=True, with_peers=True)
    groups, costs = {}, {}
    with stage.running(small(stage.models), starts) as servers:
        asked = {name: one for name, one in servers.items() if one.rest_url}
        colours = kinds(asked, {"Salver": OURS, BARE: YARDSTICK})
        for connections in CONNECTIONS:
            race = stage.race(
                {name: one.rest(connections, stage.scratch) for name, one in asked.items()}
            )
            add_rest_figures(result, race, connections, set(stage.peers))
            groups[f"{connections} connections"] = race.bars(colours)
            costs[f"{connections} connections"] = race.bars(colours, "cpu_ms")
    result.charts += [
        chart(
            "performance-rest", "REST, half_plus_two, one process", "requests per second", groups
        ),
        chart("performance-rest-cpu", "REST, half_plus_two", "CPU per request, ms", costs),
    ]
    return result


def add_rest_figures(result: Result, race: Race, connections: int, peers: set[str]) -> None:
    how = f"REST, half_plus_two, {connections} connections"
    result.add(f"{how}: rate beside the bare loop", race.ratio("Salver", BARE), goal=least(0.8))
    result.add(f"{how}: CPU per request beside the bare loop", race.ratio("Salver", BARE, "cpu_ms"))
    for name in race.samples:
        if name not in ("Salver", BARE):
            # With our wrapper of the C API under it, it is no longer the peer as it is used.
            is_aim = name in peers and not name.endswith("C API")
            goal = least(12) if is_aim else None
            result.add(f"{how}: rate beside {name}", race.ratio("Salver", name), goal=goal)
    for name in race.samples:
        result.add(f"{how}: {name}", race.of(name), "/s")


def grpc(stage: Stage) -> Result:
    """gRPC beside echoes that look at nothing, and beside our own REST."""
    result = Result("grpc")
    task = small(stage.models)
    ours = {f"Salver, {way}": salver(f"--grpc_transport={way}", name=way) for way in transports()}
    ours = ours or {"Salver": salver()}
    groups = {}
    with stage.running(task, {**ours, **stage.others(is_half_plus_two=True)}) as servers:
        asked = {name: one for name, one in servers.items() if one.grpc_port}
        answer_bytes = asked[next(iter(ours))].answer_bytes
        echoes = {
            AIO_ECHO: echo("rpc_echo.py", answer_bytes),
            BARE_ECHO: echo("http2_echo.py", answer_bytes),
        }
        with stage.running(task, echoes) as started:
            asked |= started
            colours = kinds(
                asked, {**dict.fromkeys(ours, OURS), **dict.fromkeys(echoes, YARDSTICK)}
            )
            for how, (connections, calls_each) in CALLS.items():
                race = stage.race(lanes(asked, list(ours), connections, calls_each, stage))
                for one in ours:
                    add_grpc_figures(result, race, one, how)
                groups[how] = race.bars(colours)
            clients = stage.race({name: one.client() for name, one in asked.items()})
    for one in ours:
        times = clients.ratio(one, AIO_ECHO, "p50_ms")
        result.add(f"{one}: p50 of one grpcio client beside the {AIO_ECHO}", times)
    result.charts += [
        chart("performance-grpc", "gRPC, half_plus_two, one process", "calls per second", groups),
        chart(
            *("performance-grpc-client", "gRPC: one grpcio client, one call after another"),
            *("p50, ms", {"": clients.bars(colours, "p50_ms")}),
        ),
    ]
    return result


def lanes(
    asked: dict[str, Running], ours: list[str], connections: int, calls_each: int, stage: Stage
) -> dict[str, Lane]:
    """gRPC of all, and REST of ours, with as many requests under way."""
    found = {name: one.grpc(connections, calls_each, stage.scratch) for name, one in asked.items()}
    found["REST"] = asked[ours[0]].rest(connections * calls_each, stage.scratch)
    return found


def add_grpc_figures(result: Result, race: Race, ours: str, how: str) -> None:
    is_default = "grpcio" not in ours  # the other is there for what ours cannot, and has no goal
    text = f"gRPC, {ours}, half_plus_two, {how}"
    for peer, goal in ((AIO_ECHO, 4.0), ("REST", 0.7), (BARE_ECHO, None)):
        beside = "our REST" if peer == "REST" else f"the {peer}"
        bound = least(goal) if goal and is_default else None
        result.add(f"{text}: rate beside {beside}", race.ratio(ours, peer), goal=bound)
    result.add(f"{text}: CPU per call beside the {AIO_ECHO}", race.ratio(ours, AIO_ECHO, "cpu_ms"))
    result.add(f"{text}", race.of(ours), "/s")
