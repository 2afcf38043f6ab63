import threading
from collections.abc import Callable, Iterator, Sequence
from math import inf

import pytest

from salver.errors import Unavailable
from salver.scheduling.plan import BatchRules, Piece
from salver.scheduling.scheduler import BatchScheduler, ScheduledQueue

LONG_S = 10.0  # for what must happen; a test that waits this long has failed
NEVER_S = 3600.0
NAME = "test-batch"


class Log:
    """What became of the batches of some queues, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.dropped: list[str] = []
        self.threads: set[str] = set()
        self._changed = threading.Condition()

    def process(self, batch: Sequence[Piece[str]]) -> Callable[[], None]:
        entry = "+".join(piece.task for piece in batch)
        self.threads.add(threading.current_thread().name)
        return lambda: self._add(entry)

    def _add(self, entry: str) -> None:
        with self._changed:
            self.entries.append(entry)
            self._changed.notify_all()

    def drop(self, batch: Sequence[Piece[str]]) -> None:
        self.dropped += [piece.task for piece in batch]

    def wait_for(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.entries) >= count, LONG_S)
            return list(self.entries)


class Gate:
    """A batch that runs until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.has_told = threading.Event()

    def process(self, _: Sequence[Piece[str]]) -> Callable[[], None]:
        self.entered.set()
        assert self.let_go.wait(LONG_S)
        return self.has_told.set


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def threads_now() -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith(NAME))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def scheduler() -> Iterator[BatchScheduler]:
    scheduler = BatchScheduler(1, thread_pool_name=NAME)
    yield scheduler
    scheduler.close()
    assert threads_now() == []


def rules(rows: int = 2, timeout_s: float = 0.0, batches: int = 100) -> BatchRules:
    return BatchRules(
        max_task_rows=rows,
        max_batch_rows=rows,
        timeout_s=timeout_s,
        max_enqueued_batches=batches,
    )


def queue(scheduler: BatchScheduler, log: Log, of: BatchRules | None = None) -> ScheduledQueue[str]:
    return scheduler.queue(of or rules(), log.process, log.drop)


@pytest.fixture
def gate(scheduler: BatchScheduler, log: Log) -> Iterator[Gate]:
    """The only thread is busy until the gate opens."""
    gate = Gate()
    scheduler.queue(rules(), gate.process, log.drop).offer("gate", 1)
    assert gate.entered.wait(LONG_S)
    yield gate
    gate.let_go.set()


def test_a_task_runs_in_a_named_thread(scheduler: BatchScheduler, log: Log) -> None:
    assert threads_now() == []
    queue(scheduler, log).offer("a", 1)
    assert log.wait_for(1) == ["a"]
    assert log.threads == {f"{NAME}-0"}


def test_tasks_that_come_while_all_threads_are_busy_run_together(
    scheduler: BatchScheduler, log: Log, gate: Gate
) -> None:
    waiting = queue(scheduler, log)
    for task in "abc":
        waiting.offer(task, 1)
    assert not waiting.is_idle
    gate.let_go.set()
    assert log.wait_for(2) == ["a+b", "c"]


def test_queues_are_visited_in_turn_one_batch_each(
    scheduler: BatchScheduler, log: Log, gate: Gate
) -> None:
    busy, quiet = queue(scheduler, log), queue(scheduler, log)
    for task in ("busy1", "busy2", "busy3", "busy4"):
        busy.offer(task, 2)
    quiet.offer("quiet1", 2)
    quiet.offer("quiet2", 2)
    gate.let_go.set()
    assert log.wait_for(6) == ["busy1", "quiet1", "busy2", "quiet2", "busy3", "busy4"]


def test_batch_work_waits_behind_interactive_tasks_of_other_queues_but_is_not_starved(
    scheduler: BatchScheduler, log: Log, gate: Gate
) -> None:
    bulk, *others = (queue(scheduler, log) for _ in range(3))
    for number in range(4):
        bulk.offer(f"b{number}", 2, is_batch=True)
    for number in range(20):
        others[number % 2].offer(f"i{number}", 2)
    gate.let_go.set()
    order = log.wait_for(24)
    assert [order.index(f"b{number}") for number in range(2)] == [7, 15]
    assert order[-2:] == ["b2", "b3"]


def test_a_model_at_its_limit_holds_up_no_batch_work_of_others(
    scheduler: BatchScheduler, log: Log
) -> None:
    gate = Gate()
    scheduler.limit({"chat": 1})
    chat = scheduler.queue(rules(), gate.process, log.drop, owner="chat")
    chat.offer("gate", 2)
    assert gate.entered.wait(LONG_S)
    chat.offer("i", 2)
    scheduler.queue(rules(), log.process, log.drop, owner="bulk").offer("b", 2, is_batch=True)
    assert log.wait_for(1) == ["b"]
    gate.let_go.set()


def test_a_queue_that_is_not_ready_is_passed_over(
    scheduler: BatchScheduler, log: Log, gate: Gate
) -> None:
    patient, ready = queue(scheduler, log, rules(2, NEVER_S)), queue(scheduler, log)
    patient.offer("patient", 1)
    ready.offer("ready", 1)
    gate.let_go.set()
    assert log.wait_for(1) == ["ready"]
    patient.offer("full", 1)
    assert log.wait_for(2) == ["ready", "patient+full"]


def test_an_open_batch_runs_when_its_time_is_over(scheduler: BatchScheduler, log: Log) -> None:
    queue(scheduler, log, rules(9, NEVER_S)).offer("late", 1)
    soon = queue(scheduler, log, rules(9, 0.005))
    soon.offer("soon", 1)
    assert log.wait_for(1) == ["soon"]
    soon.offer("again", 1)
    assert log.wait_for(2) == ["soon", "again"]


def test_whoever_waits_for_a_time_is_called_for_an_earlier_one(log: Log) -> None:
    scheduler = BatchScheduler(3, thread_pool_name=NAME)
    slow, quick = queue(scheduler, log, rules(9, NEVER_S)), queue(scheduler, log, rules(9, 0.002))
    for round_number in range(20):
        if round_number % 8 == 0:
            slow.offer("slow", 1)
        quick.offer(f"{round_number}", 1)
        assert log.wait_for(round_number + 1)[-1] == f"{round_number}"
    scheduler.close()
    assert log.entries[-1] == "slow+slow+slow"
    assert threads_now() == []


def test_as_many_batches_run_at_once_as_there_are_threads(log: Log) -> None:
    scheduler = BatchScheduler(2, thread_pool_name=NAME)
    gates = [Gate(), Gate(), Gate()]
    for gate in gates:
        scheduler.queue(rules(), gate.process, log.drop).offer("a", 1)
    assert gates[0].entered.wait(LONG_S)
    assert gates[1].entered.wait(LONG_S)
    assert not gates[2].entered.is_set()
    assert threads_now() == [f"{NAME}-0", f"{NAME}-1"]
    for gate in gates:
        gate.let_go.set()
    assert gates[2].has_told.wait(LONG_S)
    scheduler.close()


def test_who_takes_a_batch_calls_the_next_thread(log: Log) -> None:
    scheduler = BatchScheduler(2, thread_pool_name=NAME)
    warm = queue(scheduler, log)
    for count in range(1, 20):  # until both threads are there and idle
        warm.offer("warm", 1)
        log.wait_for(count)
    first, second = Gate(), Gate()
    for gate in (first, second):
        scheduler.queue(rules(), gate.process, log.drop).offer("a", 1)
    assert first.entered.wait(LONG_S)
    assert second.entered.wait(LONG_S)
    first.let_go.set()
    second.let_go.set()
    scheduler.close()


def test_a_task_withdrawn_in_time_does_not_run(
    scheduler: BatchScheduler, log: Log, gate: Gate
) -> None:
    waiting = queue(scheduler, log)
    pieces = waiting.offer("a", 1)
    waiting.offer("b", 1)
    assert waiting.withdraw(pieces) == 1
    assert waiting.withdraw(pieces) == 0
    alone = queue(scheduler, log)
    alone.withdraw(alone.offer("c", 1))
    assert alone.is_idle
    gate.let_go.set()
    assert log.wait_for(1) == ["b"]


def test_flushing_waits_for_no_company_but_for_the_end_of_the_run(
    scheduler: BatchScheduler, log: Log
) -> None:
    waiting = queue(scheduler, log, rules(9, NEVER_S))
    waiting.offer("a", 1)
    waiting.flush()
    assert waiting.is_idle
    assert log.wait_for(1) == ["a"]
    waiting.flush()


def test_closing_runs_what_is_queued_and_refuses_the_rest(log: Log) -> None:
    scheduler = BatchScheduler(1, thread_pool_name=NAME)
    waiting = queue(scheduler, log, rules(9, NEVER_S))
    waiting.offer("a", 1)
    scheduler.close()
    assert log.entries == ["a"]
    assert threads_now() == []
    with pytest.raises(Unavailable, match="The server is stopping"):
        waiting.offer("b", 1)


def test_abandoning_drops_what_is_queued_and_waits_for_nothing(
    scheduler: BatchScheduler, log: Log, gate: Gate
) -> None:
    waiting = queue(scheduler, log, rules(2, NEVER_S))
    for task in "abc":
        waiting.offer(task, 1)
    scheduler.abandon()
    assert log.dropped == ["a", "b", "c"]
    waiting.flush()
    assert not gate.has_told.is_set()
    with pytest.raises(Unavailable):
        waiting.offer("d", 1)
    gate.let_go.set()
    assert gate.has_told.wait(LONG_S)


def test_a_queue_that_is_full_says_so(scheduler: BatchScheduler, log: Log, gate: Gate) -> None:
    waiting = queue(scheduler, log, rules(1, batches=1))
    waiting.offer("a", 1)
    with pytest.raises(Unavailable, match="currently 1 batches enqueued"):
        waiting.offer("b", 1)
    gate.let_go.set()
    assert log.wait_for(1) == ["a"]


class NoMoreThreads(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_without_any_thread_a_task_is_refused(
    monkeypatch: pytest.MonkeyPatch, scheduler: BatchScheduler, log: Log
) -> None:
    monkeypatch.setattr(threading, "Thread", NoMoreThreads)
    waiting = queue(scheduler, log)
    with pytest.raises(Unavailable, match="No thread to run a batch in: can't start"):
        waiting.offer("a", 1)
    assert waiting.is_idle
    monkeypatch.undo()
    waiting.offer("b", 1)
    assert log.wait_for(1) == ["b"]


def test_with_some_threads_the_lack_of_more_is_borne(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    scheduler = BatchScheduler(2, thread_pool_name=NAME)
    gate = Gate()
    scheduler.queue(rules(), gate.process, log.drop).offer("gate", 1)
    assert gate.entered.wait(LONG_S)
    monkeypatch.setattr(threading, "Thread", NoMoreThreads)
    waiting = queue(scheduler, log)
    waiting.offer("a", 1)
    monkeypatch.undo()
    gate.let_go.set()
    assert log.wait_for(1) == ["a"]
    scheduler.close()


def test_the_clock_decides_when_a_batch_is_ready(log: Log) -> None:
    clock = Clock()
    scheduler = BatchScheduler(1, thread_pool_name=NAME, clock=clock)
    gate = Gate()
    scheduler.queue(rules(), gate.process, log.drop).offer("gate", 1)
    assert gate.entered.wait(LONG_S)
    early = queue(scheduler, log, rules(9, 5.0))
    early.offer("early", 1)
    clock.now_s = 4.0
    queue(scheduler, log).offer("now", 1)
    clock.now_s = 5.0
    gate.let_go.set()
    assert log.wait_for(2) == ["early", "now"]
    scheduler.close()


def test_many_clients_of_many_queues_are_all_served(log: Log) -> None:
    scheduler = BatchScheduler(3, thread_pool_name=NAME)
    queues = [queue(scheduler, log, rules(4, timeout_s, 10**6)) for timeout_s in (0, 0.001, 0.002)]

    def client(number: int) -> None:
        for serial in range(100):
            queues[(number + serial) % 3].offer(f"{number}.{serial}", 1 + serial % 4)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(LONG_S)
    for each_queue in queues:
        each_queue.flush()
    scheduler.close()
    served = [task for entry in log.entries for task in entry.split("+")]
    assert sorted(served) == sorted(f"{n}.{s}" for n in range(4) for s in range(100))


def test_no_thread_oversleeps_while_clients_come_and_wait_for_their_answers() -> None:
    """`SimpleQueue.get` with a timeout may sleep for ever where several threads take from it."""
    scheduler = BatchScheduler(3, thread_pool_name=NAME)

    def process(batch: Sequence[Piece[threading.Event]]) -> Callable[[], None]:
        def tell() -> None:
            for piece in batch:
                piece.task.set()

        return tell

    queues = [scheduler.queue(rules(8, 0.001), process, lambda _: None) for _ in range(2)]
    answered: list[bool] = []

    def client(number: int) -> None:
        for serial in range(100):
            answer = threading.Event()
            queues[number % 2].offer(answer, 1 + (number + serial) % 7)
            answered.append(answer.wait(LONG_S))
            if not answered[-1]:
                return

    clients = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(2 * LONG_S)
    scheduler.close()
    assert answered == [True] * 600


def test_a_timeout_longer_than_a_thread_can_sleep_is_borne(log: Log) -> None:
    scheduler = BatchScheduler(1, thread_pool_name=NAME)
    patient = queue(scheduler, log, rules(2, 2.0**63 / 1e6))
    patient.offer("first", 1)
    queue(scheduler, log).offer("other", 1)
    assert log.wait_for(1) == ["other"]
    patient.offer("second", 1)
    assert log.wait_for(2) == ["other", "first+second"]
    scheduler.close()


def test_nothing_is_ready_before_it_is_there() -> None:
    assert BatchScheduler(1, thread_pool_name=NAME)._next_ready_s() == inf


class TestFairness:
    """One model may have all threads, but keep none from the others."""

    def occupy(self, scheduler: BatchScheduler, log: Log, owner: str, count: int) -> list[Gate]:
        """As many batches of a model as there are threads for it, each of which waits."""
        gates = [Gate() for _ in range(count)]
        for gate in gates:
            scheduler.queue(rules(), gate.process, log.drop, owner).offer("task", 1)
            assert gate.entered.wait(LONG_S)
        return gates

    def test_a_model_without_a_batch_has_one_run_beside_those_of_a_slow_one(self, log: Log) -> None:
        scheduler = BatchScheduler(2, thread_pool_name=NAME)
        gates = self.occupy(scheduler, log, "slow", 2)
        waiting = scheduler.queue(rules(), log.process, log.drop, "slow")
        waiting.offer("waits", 2)
        scheduler.queue(rules(), log.process, log.drop, "quick").offer("goes", 1)
        assert log.wait_for(1) == ["goes"]  # the slow one does not get the thread made for it
        for gate in gates:
            gate.let_go.set()
        assert log.wait_for(2) == ["goes", "waits"]
        scheduler.close()
        assert threads_now() == []

    def test_a_batch_that_is_to_wait_for_company_is_run_when_its_time_is_over(
        self, log: Log
    ) -> None:
        scheduler = BatchScheduler(1, thread_pool_name=NAME)
        [gate] = self.occupy(scheduler, log, "slow", 1)
        quick = scheduler.queue(rules(9, timeout_s=0.02), log.process, log.drop, "quick")
        quick.offer("goes", 1)
        assert log.wait_for(1) == ["goes"]
        gate.let_go.set()
        scheduler.close()

    def test_there_are_never_more_than_twice_the_threads(self, log: Log) -> None:
        scheduler = BatchScheduler(1, thread_pool_name=NAME)
        gates = [
            *self.occupy(scheduler, log, "one", 1),
            *self.occupy(scheduler, log, "two", 1),
        ]
        scheduler.queue(rules(), log.process, log.drop, "three").offer("waits", 1)
        assert len(threads_now()) == 2
        assert log.entries == []
        for gate in gates:
            gate.let_go.set()
        assert log.wait_for(1) == ["waits"]
        scheduler.close()

    def test_a_model_may_be_kept_to_fewer_batches_at_a_time(self, log: Log) -> None:
        scheduler = BatchScheduler(4, thread_pool_name=NAME, most_running_per_owner=1)
        [gate] = self.occupy(scheduler, log, "slow", 1)
        waiting = scheduler.queue(rules(), log.process, log.drop, "slow")
        waiting.offer("waits", 1)
        scheduler.queue(rules(), log.process, log.drop, "quick").offer("goes", 1)
        assert log.wait_for(1) == ["goes"]
        closing = threading.Thread(target=scheduler.close)
        closing.start()  # what waits for its model is run all the same
        gate.let_go.set()
        assert log.wait_for(2) == ["goes", "waits"]
        closing.join(LONG_S)
        assert not closing.is_alive()

    def test_a_model_may_have_a_limit_of_its_own_which_may_change(self, log: Log) -> None:
        scheduler = BatchScheduler(4, thread_pool_name=NAME)
        scheduler.limit({"slow": 1})
        [gate] = self.occupy(scheduler, log, "slow", 1)
        waiting = scheduler.queue(rules(), log.process, log.drop, "slow")
        waiting.offer("waits", 1)
        scheduler.queue(rules(), log.process, log.drop, "quick").offer("goes", 1)
        assert log.wait_for(1) == ["goes"]
        scheduler.limit({})
        assert log.wait_for(2) == ["goes", "waits"]
        gate.let_go.set()
        scheduler.close()

    def test_a_busy_thread_that_is_about_to_be_free_needs_no_other(self, log: Log) -> None:
        scheduler = BatchScheduler(1, thread_pool_name=NAME)
        for number in range(200):
            scheduler.queue(rules(), log.process, log.drop, f"m{number}").offer(f"t{number}", 1)
            log.wait_for(number + 1)
        assert log.threads == {f"{NAME}-0"}
        scheduler.close()
