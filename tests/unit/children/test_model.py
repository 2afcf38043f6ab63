"""Models in real children: what they answer, and what becomes of them when they misbehave."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from tests import mischief
from tests.unit.children.conftest import WAIT_S, World, feeds, is_alive, pid_of, start, until

from salver.backends.protocol import LoadStage
from salver.children.limits import ChildLimits
from salver.children.model import ChildModel
from salver.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Overloaded,
    Unavailable,
)
from salver.vocabulary.model import Model
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId

KINDS = (mischief.Mischief, mischief.SerialMischief, mischief.StartedMischief)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@each_kind
async def test_a_model_answers_from_a_process_of_its_own(
    world: World, kind: type[mischief.Mischief]
) -> None:
    model = await world.load(kind, factor=2.0)
    assert model.signatures == mischief.SIGNATURES
    pids, y = await start(model, "echo", 1.0, 2.0)
    assert y.tolist() == [2.0, 4.0]
    assert pids[0] not in (0, os.getpid())
    assert world.ran == 1


@each_kind
async def test_a_lone_run_is_refused_whose_outputs_have_other_rows(
    world: World, kind: type[mischief.Mischief]
) -> None:
    model = await world.load(kind)
    program = model.program("serving_default", ["y"])
    ends: list[None] = []

    def begin(rows: int) -> "asyncio.Future[list[Array]]":
        return program.start_lone(
            feeds("echo", 3.0), rows, timeout_s=30, on_end=lambda: ends.append(None)
        )

    (y,) = await begin(1)
    assert y.tolist() == [3.0]
    with pytest.raises(FailedPrecondition, match="does not equal the sum"):
        await begin(2)
    assert len(ends) == 2


@each_kind
async def test_a_thread_may_run_it_too(world: World, kind: type[mischief.Mischief]) -> None:
    model = await world.load(kind)
    program = model.program("serving_default", ["y"])
    (y,) = await asyncio.to_thread(program.run, feeds("echo", 3.0))
    assert y.tolist() == [3.0]


@each_kind
async def test_large_arrays_and_many_strings_go_both_ways(
    world: World, kind: type[mischief.Mischief]
) -> None:
    model = await world.load(kind)
    large = np.arange(300_000.0)
    for _ in range(3):
        _, y = await model.program("serving_default").start(
            [np.array([b"echo"], object), large], timeout_s=None, on_end=lambda: None
        )
        np.testing.assert_array_equal(y, large)
        del y
    strings = np.array([b"%d" % number for number in range(5000)], object).reshape(50, 100)
    (back,) = await model.program("strings").start([strings], timeout_s=None, on_end=lambda: None)
    assert back.dtype == object
    assert back.tolist() == strings.tolist()


async def test_what_a_model_keeps_of_its_inputs_does_not_change(world: World) -> None:
    model = await world.load()
    program = model.program("serving_default")

    async def ask(word: str, value: float) -> float:
        given = [np.array([word.encode()], object), np.full(100_000, value)]
        _, y = await program.start(given, timeout_s=None, on_end=lambda: None)
        return float(y[-1])

    assert await ask("keep", 7.0) == 7.0
    for value in range(5):
        assert await ask("echo", float(value)) == value
    assert await ask("kept", 0.0) == 7.0


async def test_answers_that_are_kept_do_not_change(world: World) -> None:
    model = await world.load()
    program = model.program("serving_default")
    kept = []
    for value in range(10):
        given = [np.array([b"echo"], object), np.full(100_000, float(value))]
        kept.append((await program.start(given, timeout_s=None, on_end=lambda: None))[1])
    assert [float(each[0]) for each in kept] == list(range(10))
    assert [float(each[-1]) for each in kept] == list(range(10))


@each_kind
async def test_errors_come_back_with_code_text_and_hint(
    world: World, kind: type[mischief.Mischief]
) -> None:
    model = await world.load(kind)
    with pytest.raises(InvalidArgument, match="refused on purpose") as caught:
        await start(model, "refuse")
    assert caught.value.hint == "Do not ask."
    with pytest.raises(Internal, match="ValueError: raised on purpose"):
        await start(model, "raise")
    assert await pid_of(model)


async def test_a_load_that_fails_says_so_as_in_this_process(world: World) -> None:
    with pytest.raises(InvalidArgument, match="refused on purpose"):
        await world.load(load="refuse")
    with pytest.raises(Internal, match="raised on purpose"):
        await world.load(load="raise")
    with pytest.raises(Internal, match="KeyError"):
        await world.load(load="no such word")


@pytest.mark.parametrize(
    ("word", "cause"), [("crash", "SIGSEGV"), ("exit", "exit status 3"), ("kill", "SIGKILL")]
)
async def test_a_load_that_ends_its_process_says_how(world: World, word: str, cause: str) -> None:
    with pytest.raises(Unavailable, match=f"process that was to load model m.*{cause}"):
        await world.load(load=word)


async def test_a_load_that_is_given_up_ends_its_process(world: World) -> None:
    others = _children_of_this_process()  # such as servers of other tests
    begun = time.monotonic()

    def check() -> None:
        if time.monotonic() - begun > 1.0:
            raise Cancelled("given up")

    with pytest.raises(Cancelled, match="given up"):
        await world.load(load="spin", stage=LoadStage(id=ServableId("m", 1), check=check))
    await until("it has ended", lambda: _children_of_this_process() <= others)


async def test_how_far_a_load_is_comes_across(world: World) -> None:
    said: list[tuple[str, float | None]] = []
    stage = LoadStage(id=ServableId("m", 1), progress=lambda what, part: said.append((what, part)))
    await world.load(stage=stage)
    assert said == [("reading", 0.5)]


@each_kind
@pytest.mark.parametrize(
    ("word", "cause", "kind_of_end"),
    [
        ("crash", "SIGSEGV", "crash"),
        ("exit", "exit status 3", "exit"),
        ("kill", "SIGKILL", "killed"),
    ],
)
async def test_a_run_that_ends_the_process_fails_alone_and_the_next_is_answered(
    world: World, kind: type[mischief.Mischief], word: str, cause: str, kind_of_end: str
) -> None:
    model = await world.load(kind)
    before = await pid_of(model)
    with pytest.raises(Unavailable, match=f"ran model m, version 1, has ended: {cause}"):
        await start(model, word)
    assert await pid_of(model) != before
    assert world.children.restarts == {("m", kind_of_end): 1}


async def test_what_becomes_of_the_processes_is_said_until_all_are_there_again(
    world: World,
) -> None:
    model = await world.load(instances=2)
    assert world.notes == [None]
    os.kill(await pid_of(model), signal.SIGKILL)
    await until("all are there again", lambda: len(world.notes) == 3)
    assert world.notes[1] == "1 of 2 processes being replaced: SIGKILL (out of memory?)"
    assert world.notes[2] is None


async def test_a_child_that_cannot_be_replaced_fails_those_that_wait_and_is_tried_again(
    world: World,
) -> None:
    model = await world.load()
    file = next(world.path.glob("*/1/mischief_serial.json"))
    said = file.read_text()
    file.write_text("rubbish")
    pid = await pid_of(model)
    waiting = [start(model, "sleep", 60.0), start(model, "echo")]
    await until("it runs", lambda: model.instances.children[0].in_flight)
    os.kill(pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert "has ended: SIGKILL" in str(outcomes[0])
    assert "has no process to run it" in str(outcomes[1])
    assert "is no mischief" in str(outcomes[1])
    with pytest.raises(Unavailable, match="has no process to run it"):
        await start(model, "echo")
    file.write_text(said)
    await until("it is back", lambda: model.instances.children and model.instances._ready)
    assert await pid_of(model) != pid


async def test_only_the_runs_of_the_process_that_ended_fail(world: World) -> None:
    model = await world.load(instances=2)
    pids = {await pid_of(model) for _ in range(3)}
    busy = [start(model, "sleep", 0.5) for _ in range(2)]
    waiting = [start(model, "echo") for _ in range(10)]
    await until("both run", lambda: sum(len(c.in_flight) for c in model.instances.children) == 2)
    os.kill(model.instances.children[0].pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*busy, return_exceptions=True)
    assert [type(each) for each in outcomes].count(Unavailable) == 1
    assert all(len(each) == 2 for each in await asyncio.gather(*waiting))
    assert len(pids) == 1  # the first that is free


async def test_a_killed_child_is_replaced_again_and_again_and_pauses_grow(world: World) -> None:
    model = await world.load()
    began = time.monotonic()
    for _ in range(5):
        pid = await pid_of(model)
        (child,) = model.instances.children
        os.kill(pid, signal.SIGKILL)
        await until("it has ended", child.ended.is_set)
        assert await pid_of(model)
    assert world.children.restarts == {("m", "killed"): 5}
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4 + 0.8


async def test_a_deadline_is_kept_while_a_run_goes_on_and_while_one_waits(world: World) -> None:
    model = await world.load()
    ended = []
    program = model.program("serving_default")
    running = start(model, "sleep", 1.0)
    waiting = program.start(feeds("echo"), timeout_s=0.1, on_end=lambda: ended.append(1))
    with pytest.raises(DeadlineExceeded):
        await waiting
    assert ended == [1]
    await running


@each_kind
async def test_a_run_that_nobody_waits_for_is_stopped(
    world: World, kind: type[mischief.Mischief]
) -> None:
    model = await world.load(kind, most_running=1)
    before = await pid_of(model)
    ended = asyncio.Event()
    program = model.program("serving_default")
    word = "spin" if kind is mischief.Mischief else "sleep"
    begun = time.monotonic()
    run = program.start(feeds(word, 600.0), timeout_s=0.2, on_end=ended.set)
    with pytest.raises(DeadlineExceeded):
        await run
    assert await asyncio.wait_for(ended.wait(), 10)
    left = program.start(feeds(word, 600.0), timeout_s=None, on_end=lambda: None)
    await asyncio.sleep(0)
    left.cancel()
    assert await pid_of(model) == before
    assert time.monotonic() - begun < 10


@each_kind
async def test_a_run_that_cannot_be_stopped_ends_its_process_where_that_is_set(
    world: World, kind: type[mischief.Mischief]
) -> None:
    model = await world.load(kind, limits=ChildLimits(on_timeout="kill"))
    before = await pid_of(model)
    with pytest.raises(DeadlineExceeded):
        await start(model, "stuck", 600.0, timeout_s=0.2)
    await until("it has ended", lambda: world.children.restarts)
    assert await pid_of(model) != before
    assert world.children.restarts == {("m", "timeout"): 1}


async def test_a_queue_has_an_end(world: World) -> None:
    model = await world.load(most_queued=2)
    running = [start(model, "sleep", 0.3) for _ in range(3)]
    with pytest.raises(Overloaded, match="2 requests wait for runs of model m already"):
        start(model, "echo")
    assert world.rejected == 1
    await asyncio.gather(*running)


async def test_those_that_may_run_side_by_side_do(world: World) -> None:
    model = await world.load(mischief.Mischief, most_running=3)
    begun = time.monotonic()
    await asyncio.gather(*[start(model, "sleep", 2.0) for _ in range(3)])
    assert time.monotonic() - begun < 4  # one after the other they take six seconds


async def test_a_hundred_runs_are_started_at_once_without_a_thread_for_each(world: World) -> None:
    model = await world.load(mischief.StartedMischief, most_running=1)
    begun = time.monotonic()
    await asyncio.gather(*[start(model, "sleep", 0.5) for _ in range(100)])
    assert time.monotonic() - begun < 25  # one after the other they take fifty seconds


async def test_a_child_with_too_much_memory_is_replaced(world: World) -> None:
    limits = ChildLimits(max_resident_bytes=300_000_000)
    model = await world.load(limits=limits)
    before = await pid_of(model)
    child = model.instances.children[0]
    with suppress(Unavailable):
        await start(model, "leak", 400.0)
    await until("it has ended", child.ended.is_set)
    assert "max_resident_bytes 300000000" in child.end
    assert await pid_of(model) != before
    assert world.children.restarts == {("m", "memory"): 1}


async def test_says_how_much_memory_the_children_of_a_version_have(world: World) -> None:
    assert world.children.resident_bytes == {}
    model = await world.load(instances=2)
    (taken,) = world.children.resident_bytes.values()
    assert taken == pytest.approx(
        sum(child.resident_bytes() for child in model.instances.children), rel=0.1
    )
    assert taken > 20 << 20
    await asyncio.to_thread(model.close)
    assert world.children.resident_bytes == {}


async def test_cpus_are_a_mask_and_a_number_of_threads(world: World) -> None:
    model = await world.load(cpus=1)
    assert (await start(model, "mask"))[1].tolist() == [1.0]
    assert (await start(model, "threads"))[1].tolist() == [1.0]


async def test_a_python_that_cannot_be_run_is_refused_by_name(world: World) -> None:
    with pytest.raises(FailedPrecondition, match="python_executable /no/such/python cannot be run"):
        await world.load(python_executable="/no/such/python")
    with pytest.raises(Unavailable, match="exit status"):
        await world.load(python_executable="/bin/false")


async def test_unloading_ends_the_process_in_order(world: World) -> None:
    model = await world.load()
    pid = await pid_of(model)
    child = model.instances.children[0]
    await asyncio.to_thread(model.close)
    assert not is_alive(pid)
    assert child.code == 0
    assert child.last_line == "the model is closed"
    assert child._link._buffer is None  # which is large, and the child may be garbage for long
    with pytest.raises(Unavailable, match="unloaded"):
        start(model, "echo")


async def test_unloading_does_not_wait_for_a_run_that_hangs(world: World) -> None:
    others = _children_of_this_process()
    model = await world.load()
    run = start(model, "stuck", 600.0, timeout_s=0.1)
    with pytest.raises(DeadlineExceeded):
        await run
    begun = time.monotonic()
    await asyncio.to_thread(model.close)
    assert time.monotonic() - begun < 5
    await until("it has ended", lambda: _children_of_this_process() <= others)


async def test_what_a_child_has_started_ends_with_it(world: World) -> None:
    model = await world.load()
    pid = await pid_of(model)
    await start(model, "subprocess")
    (started,) = _children_of(pid)
    os.kill(pid, signal.SIGKILL)
    await until("it has ended too", lambda: not is_alive(started))


async def test_a_child_has_no_descriptor_of_the_server_but_its_own(world: World) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    model = await world.load()
    pid = await pid_of(model)
    kinds = sorted(
        os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")
    )
    assert kinds == ["/dev/null", "pipe", "pipe", "pipe", "socket", "socket"]
    os.close(reader)
    os.close(writer)


async def test_no_descriptor_is_left_of_children_that_have_ended(world: World) -> None:
    model = await world.load()
    program = model.program("serving_default")

    async def once() -> None:
        given = [np.array([b"echo"], object), np.zeros(1_000_000)]
        await program.start(given, timeout_s=None, on_end=lambda: None)
        child = model.instances.children[0]
        child.kill("the test ends it", "timeout")
        await until("it has ended", child.ended.is_set)
        await pid_of(model)
        gc.collect()

    await once()
    before, maps = _descriptors(), _segments()
    for _ in range(5):
        await once()
    assert _descriptors() - before == Counter()
    assert _segments() <= maps + 1


async def test_a_model_that_writes_a_lot_neither_waits_nor_fills_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    model = await world.load()
    begun = time.monotonic()
    with caplog.at_level("INFO", "salver.children"):
        await start(model, "print", 200_000.0)
        await start(model, "write", 20_000_000.0)
        await start(model, "log")
        assert time.monotonic() - begun < 20
        await until("it is said", lambda: "dropped" in caplog.text)
    assert 1 < caplog.text.count("m:1: line ") < 2_000


async def test_what_a_model_logs_is_logged_under_its_name_and_with_its_level(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    model = await world.load()
    with caplog.at_level("INFO", "salver.children"):
        await start(model, "log")
        await until("it is there", lambda: "m:1: of two lines" in caplog.text)
    levels = [each.levelname for each in caplog.records if "two lines" in each.getMessage()]
    assert levels == ["WARNING"]


def _descriptors() -> Counter[str]:
    """What the descriptors of this process lead to, by kind."""
    found: Counter[str] = Counter()
    for each in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[os.readlink(f"/proc/self/fd/{each}").split(":[")[0]] += 1
    return found


def _segments() -> int:
    with open("/proc/self/maps") as file:
        return sum("memfd:salver-child" in line for line in file)


def _children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split() if is_alive(int(each))]


def _children_of_this_process() -> set[int]:
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found |= {int(each) for each in file.read().split()}
    return {pid for pid in found if is_alive(pid)}


async def _kill(model: ChildModel) -> None:
    with pytest.raises(Unavailable):
        await start(model, "kill")


async def test_a_child_that_replaces_another_is_warmed_up_before_it_answers(world: World) -> None:
    model = await world.load()
    was = await pid_of(model)
    warmed: list[int] = []

    def warm(one: Model) -> None:
        assert one.signatures == model.signatures
        pids, _ = one.program("serving_default").run(feeds("keep", 7.0))
        warmed.append(int(pids[0]))

    model.warm_replacements(warm)
    await _kill(model)
    pids, kept = await start(model, "kept")
    assert kept.tolist() == [7.0]
    assert warmed == [int(pids[0])] != [was]
    assert world.notes[-1] is None


async def test_each_child_can_be_warmed_up_by_itself(world: World) -> None:
    model = await world.load(instances=3)
    warmed: list[int] = []

    def warm(one: Model) -> None:
        warmed.append(int(one.program("serving_default").run(feeds("echo"))[0][0]))

    await asyncio.to_thread(model.warm_each, warm)
    assert len(set(warmed)) == 3


async def test_one_whose_warm_up_fails_answers_all_the_same(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    model = await world.load()

    def warm(one: Model) -> None:
        one.program("serving_default").run(feeds("refuse"))

    model.warm_replacements(warm)
    await _kill(model)
    assert await pid_of(model)
    assert "m:1: a process was not warmed up: refused on purpose" in caplog.text.replace(
        "{name: m version: 1}", "m:1"
    )


async def test_one_that_dies_of_its_warm_up_is_replaced_too(world: World) -> None:
    model = await world.load()
    words = iter(("crash", "echo"))

    def warm(one: Model) -> None:
        one.program("serving_default").run(feeds(next(words)))

    model.warm_replacements(warm)
    await _kill(model)
    await until("another is tried", lambda: next(iter(words), None) is None)
    assert await until_answered(model)


async def test_a_warm_up_that_does_not_return_ends_its_process(world: World) -> None:
    model = await world.load()
    words = iter(("spin", "echo"))

    def warm(one: Model) -> None:
        one.program("serving_default").run(feeds(next(words)))

    model.warm_replacements(warm, limit_s=0.2)
    await _kill(model)
    assert await until_answered(model)


async def test_a_model_is_closed_while_a_child_is_warmed_up(world: World) -> None:
    model = await world.load()
    began, ended = threading.Event(), threading.Event()

    def warm(one: Model) -> None:
        began.set()
        try:
            one.program("serving_default").run(feeds("spin"))
        finally:
            ended.set()

    model.warm_replacements(warm)
    await _kill(model)
    assert await asyncio.to_thread(began.wait, WAIT_S)
    await asyncio.to_thread(model.close)
    assert await asyncio.to_thread(ended.wait, WAIT_S)


async def test_nothing_is_said_any_more_of_the_children_of_a_model_that_is_closed(
    world: World,
) -> None:
    model = await world.load()
    stop = threading.Event()
    model.warm_replacements(lambda _one: stop.wait(WAIT_S) and None)
    await _kill(model)
    await until("it is said", lambda: world.notes and world.notes[-1] is not None)
    stop.set()
    await asyncio.to_thread(model.close)
    await until("it is said no more", lambda: world.notes[-1] is None)


async def until_answered(model: ChildModel) -> int:
    """Which process answers, once one does."""
    while True:
        with suppress(Unavailable):
            return await pid_of(model)
        await asyncio.sleep(0.01)
