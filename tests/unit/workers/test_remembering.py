import json
import threading

from salver.metrics.history import History
from salver.metrics.merged import Report
from salver.workers.remembering import Remembering


def test_steps_are_recorded_in_a_thread_until_it_is_stopped() -> None:
    history = History(60, 0.0)
    history.step_s = 0.001
    enough = threading.Event()
    times = iter(range(5, 10_000, 5))
    made: list[Report] = []

    def report() -> Report:
        made.append({"salver_failed_requests_total": [(("m", "1", "INTERNAL", "REST"), len(made))]})
        if len(made) == 4:
            remembering.stop()
            enough.set()
        return made[-1]

    remembering = Remembering(history, report, clock=lambda: float(next(times)))
    remembering.start()
    assert enough.wait(10)
    remembering._thread.join(10)
    document = json.loads(remembering.document())
    assert [step["to"] for step in document["steps"]][:3] == [5.0, 10.0, 15.0]
    assert document["totals"] == [["m", len(made) - 1, len(made) - 1]]
