import json

from salver.cluster.conditions import NodeCondition
from salver.cluster.reports import ModelReport, NodeDesire, NodeReport, VersionReport
from salver.cluster.wire import (
    Answer,
    Message,
    answer_of,
    bytes_of_answer,
    bytes_of_message,
    message_of,
)
from salver.peers.map import Peer, PeerMap, Placed

REPORT = NodeReport(
    name="n1",
    rest="127.0.0.2:8501",
    zone="a",
    memory_bytes=1 << 40,
    incarnation="x",
    generation=7,
    models={
        "m": ModelReport(
            versions=(VersionReport(1, "END", "no memory"), VersionReport(2, "AVAILABLE")),
            requests=5,
            busy_s=0.25,
            found=(1, 2),
        )
    },
    is_partial=True,
)
MAP = PeerMap(9, {"n1": Peer("n1", "127.0.0.2:8501")}, {"m": Placed(("n1",), (2,), {"l": 2})})
DESIRE = NodeDesire(
    generation=8,
    config={"schema": 1, "models": [{"name": "m", "base_path": "/m"}]},
    peer_map=MAP,
    resident=("m", "a"),
    is_draining=True,
)


def test_a_message_arrives_as_it_was_sent() -> None:
    message = Message(report=REPORT, condition=NodeCondition(server_pid=4, problem="it is slow"))
    assert message_of(bytes_of_message(message)) == message


def test_an_answer_arrives_as_it_was_sent() -> None:
    answer = Answer(desire=DESIRE, flags={"port": "8500"}, must_restart=True)
    assert answer_of(bytes_of_answer(answer)) == answer
    bare = Answer(desire=NodeDesire(generation=0), flags=None)
    assert answer_of(bytes_of_answer(bare)) == bare


def test_what_a_newer_release_says_beside_is_left_alone() -> None:
    message = Message(report=REPORT, condition=NodeCondition())
    found = json.loads(bytes_of_message(message))
    found["report"]["colour"] = "blue"
    found["report"]["models"]["m"]["weight"] = 1
    found["condition"]["mood"] = "good"
    assert message_of(json.dumps(found).encode()) == message
