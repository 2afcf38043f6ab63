import asyncio

from tests.unit.bench.conftest import ScriptedServer, answer_bytes

from salver.bench.http_lines import http_request
from salver.bench.preparing import Target
from salver.bench.results import Level, Report
from salver.bench.turns import Plan, Progress, run_plan
from salver.client.address import Address, Tls, parse_address


def target(address: Address, name: str) -> Target:
    requests = (http_request(address, f"/{name}", b"{}"),)
    return Target(name, address, Tls(), "predict", f"/{name}", requests, "nothing")


async def test_rivals_take_turns_and_each_begins_as_often(server: ScriptedServer) -> None:
    address = await server.start()
    server.answer = lambda _: (0.001, answer_bytes())
    report, told = Report(), list[Progress]()
    plan = Plan((Level(2), Level(2, 100.0)), 0.08, 0.02, 4, 5.0)
    targets = [target(address, "a"), target(address, "b")]
    await run_plan(plan, targets, asyncio.Event(), told.append, report)
    assert report.is_complete
    assert report.requests == {"a": "nothing", "b": "nothing"}
    assert [len(measured.turns) for measured in report.all] == [4] * 4
    assert all(measured.total.answered >= 4 for measured in report.all)
    assert all(not measured.total.failed for measured in report.all)
    order = [(progress.measured.target, progress.is_warmup) for progress in told]
    turns = [("a", True), ("b", True), *[(name, False) for name in "abbaabba"]]
    assert order == turns * 2
    assert [round(progress.done_s, 2) for progress in told[:4]] == [0.0, 0.02, 0.04, 0.06]
    assert all(abs(progress.all_s - 0.4) < 1e-9 for progress in told)


async def test_over_grpc_a_server_that_is_gone_is_a_failure_of_each_request() -> None:
    address = parse_address("grpc://127.0.0.1:1")
    report = Report()
    gone = Target("a", address, Tls(), "predict", "/service/Method", (b"",), "nothing")
    await run_plan(
        Plan((Level(1),), 0.05, 0.0, 1, 1.0), [gone], asyncio.Event(), lambda _: None, report
    )
    assert report.all[0].total.failures.keys() == {"UNAVAILABLE"}


async def test_one_target_has_one_turn_and_a_stop_ends_the_plan(server: ScriptedServer) -> None:
    address = await server.start()
    stop = asyncio.Event()

    def answer(number: int) -> tuple[float, bytes]:
        if number == 20:
            stop.set()
        return 0.0, answer_bytes()

    server.answer = answer
    report = Report()
    plan = Plan((Level(1), Level(2)), 30.0, 0.0, 4, 5.0)
    watch = asyncio.wait_for(
        run_plan(plan, [target(address, "a")], stop, lambda _: None, report), 10
    )
    await watch
    assert not report.is_complete
    (measured,) = report.all
    assert len(measured.turns) == 1
    assert measured.total.answered >= 20
