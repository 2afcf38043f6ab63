"""Agents with real servers, whose models need no files: it is the configuration that counts."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from tests.integration.serving import PATIENCE_S, eventually, free_port

from salver.cluster.node_agent import Lock, NodeAgent
from salver.cluster.processes import send_signal, wait_end
from salver.cluster.reports import ModelReport, NodeDesire, NodeReport
from salver.cluster.server_launch import NodeSettings
from salver.cluster.server_process import find_server
from salver.errors import FailedPrecondition
from salver.peers.map import Peer, PeerMap

CONFIG = {"schema": 1, "models": [{"name": "m", "base_path": "/no/such/place"}]}


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[NodeSettings]:
    flags = {"rest_api_port": str(free_port()), "port": str(free_port())}
    yield NodeSettings(
        name="n1",
        host="127.0.0.1",
        directory=tmp_path,
        flags=flags,
        memory_bytes=1 << 30,
        token="a secret of these tests".replace(" ", "-"),
        environment=dict(os.environ),
    )
    if (server := find_server(tmp_path)) is not None:
        server.kill()


@pytest.fixture
def agent(settings: NodeSettings) -> Iterator[NodeAgent]:
    made = NodeAgent(settings, time.monotonic)
    yield made
    made.close()


def desire(settings: NodeSettings, generation: int, **more: object) -> NodeDesire:
    rest = f"127.0.0.1:{settings.flags['rest_api_port']}"
    peers = PeerMap(generation, {"n1": Peer("n1", rest)})
    made = NodeDesire(generation=generation, config=CONFIG, peer_map=peers)
    return replace(made, **more)  # type: ignore[arg-type]


def report_with(agent: NodeAgent, generation: int) -> NodeReport:
    """The first report of a server that has a generation."""

    def look() -> NodeReport | None:
        said = agent.report()
        return said if (said.generation, said.map_generation) == (generation,) * 2 else None

    found: NodeReport = eventually(f"generation {generation} is there", look)
    return found


def _said_nothing(report: NodeReport) -> NodeReport | None:
    return None if report.models else report


def pid_of(directory: Path) -> int:
    server = find_server(directory)
    assert server is not None
    return server.process.pid


def has_ended(agent: NodeAgent) -> bool:
    agent.report()
    return not agent.condition.server_pid


def test_a_server_gets_what_is_desired_and_says_that_it_has_it(
    agent: NodeAgent, settings: NodeSettings
) -> None:
    first = agent.report()
    assert first.rest == f"127.0.0.1:{settings.flags['rest_api_port']}"
    assert (first.generation, first.memory_bytes) == (0, 1 << 30)
    agent.obey(desire(settings, 3))
    was_pending = agent.is_pending
    said = report_with(agent, 3)
    assert (was_pending, agent.is_pending) == (True, False)
    agent.unsaid()
    assert agent.report().models == {"m": ModelReport()}
    assert said.incarnation


def test_what_was_said_is_not_said_again(agent: NodeAgent, settings: NodeSettings) -> None:
    agent.obey(desire(settings, 3))
    report_with(agent, 3)
    # A model may come up in the report after that.
    again = eventually("nothing is said again", lambda: _said_nothing(agent.report()))
    assert again.is_partial
    agent.obey(NodeDesire(generation=3, wants_all=True))
    whole = agent.report()
    assert (whole.is_partial, set(whole.models)) == (False, {"m"})


def test_the_next_agent_takes_the_server_over_with_what_it_has(
    agent: NodeAgent, settings: NodeSettings
) -> None:
    agent.obey(desire(settings, 3))
    before = report_with(agent, 3)
    pid = pid_of(settings.directory)
    agent.close()
    following = NodeAgent(settings, time.monotonic)
    after = report_with(following, 3)
    following.close()
    assert after.incarnation == before.incarnation
    assert pid_of(settings.directory) == pid
    assert following.condition.starts == 0


def test_a_disk_that_is_full_after_the_models_were_written_loses_no_generation(
    agent: NodeAgent, settings: NodeSettings
) -> None:
    in_the_way = settings.directory / "applied.json"
    in_the_way.mkdir()
    with pytest.raises(OSError, match=in_the_way.name):
        agent.obey(desire(settings, 3))
    in_the_way.rmdir()
    agent.obey(desire(settings, 3))
    report_with(agent, 3)


def test_of_several_secrets_the_first_one_is_said(settings: NodeSettings) -> None:
    secrets = "# since May\nthe-new-secret-of-these-tests\n\nthe-old-secret-of-these-tests"
    agent = NodeAgent(replace(settings, token=secrets), time.monotonic)
    agent.report()
    agent.obey(desire(settings, 3))
    report_with(agent, 3)
    agent.close()


def test_a_server_that_was_killed_is_started_again_with_what_it_had(
    agent: NodeAgent, settings: NodeSettings
) -> None:
    agent.obey(desire(settings, 3))
    before = report_with(agent, 3)
    server = find_server(settings.directory)
    assert server is not None
    send_signal(server.process, signal.SIGKILL)
    assert wait_end(server.process, PATIENCE_S)
    after = report_with(agent, 3)
    assert after.incarnation != before.incarnation
    assert agent.condition.starts == 2


def test_a_server_that_may_stop_ends_and_comes_back_when_it_is_wanted(
    agent: NodeAgent, settings: NodeSettings
) -> None:
    agent.report()
    agent.obey(desire(settings, 3, is_draining=True, may_stop=True))
    eventually("it has ended", lambda: has_ended(agent))
    assert find_server(settings.directory) is None
    agent.obey(desire(settings, 3))
    report_with(agent, 3)


def test_a_server_that_ends_is_reported_until_it_has_and_another_one_only_follows_then(
    settings: NodeSettings,
) -> None:
    slow = replace(settings, flags={**settings.flags, "drain_delay_seconds": "2"})
    agent = NodeAgent(slow, time.monotonic)
    agent.obey(desire(slow, 3))
    report_with(agent, 3)
    before = pid_of(slow.directory)
    agent.obey(desire(slow, 3, is_draining=True, may_stop=True))
    assert agent.report().models == {}
    assert (agent.condition.server_pid, agent.condition.is_lost) == (before, False)
    assert pid_of(slow.directory) == before
    agent.obey(desire(slow, 3))
    agent.report()
    assert pid_of(slow.directory) == before
    eventually("it has ended", lambda: has_ended(agent))
    assert agent.condition.problem == ""
    agent.obey(desire(slow, 3))
    report_with(agent, 3)
    assert pid_of(slow.directory) != before
    agent.close()


def test_a_server_that_does_not_end_is_killed(settings: NodeSettings) -> None:
    times = [0.0]
    agent = NodeAgent(settings, lambda: times[-1])
    agent.report()
    server = find_server(settings.directory)
    assert server is not None
    assert send_signal(server.process, signal.SIGSTOP)
    agent.obey(desire(settings, 3, is_draining=True, may_stop=True))
    agent.report()
    assert server.is_alive
    times.append(1000.0)
    assert has_ended(agent)
    assert find_server(settings.directory) is None
    agent.close()


def test_other_flags_are_for_the_next_start(agent: NodeAgent, settings: NodeSettings) -> None:
    agent.report()
    agent.take_flags(settings.flags)
    outdated = [agent.condition.is_outdated]
    agent.take_flags({**settings.flags, "max_request_bytes": "1000000"})
    outdated.append(agent.condition.is_outdated)
    before = pid_of(settings.directory)
    agent.restart_server()
    agent.report()
    assert [*outdated, agent.condition.is_outdated] == [False, True, False]
    assert pid_of(settings.directory) != before


def test_an_agent_that_is_started_again_does_not_take_its_server_for_outdated(
    agent: NodeAgent, settings: NodeSettings
) -> None:
    agent.take_flags({**settings.flags, "max_request_bytes": "1000000"})
    agent.report()
    agent.close()
    following = NodeAgent(settings, time.monotonic)  # Ray has the settings of the first start
    following.report()
    outdated = [following.condition.is_outdated]
    following.take_flags({**settings.flags, "max_request_bytes": "1000000"})
    outdated.append(following.condition.is_outdated)
    following.take_flags(settings.flags)
    outdated.append(following.condition.is_outdated)
    following.close()
    assert outdated == [False, False, True]


def test_a_server_that_cannot_start_is_told_of_and_tried_ever_more_rarely(
    settings: NodeSettings,
) -> None:
    now_s = 0.0
    wrong = replace(settings, flags={**settings.flags, "no_such_flag": "1"})
    agent = NodeAgent(wrong, lambda: now_s)
    moments: list[float] = []
    while len(moments) < 4:
        starts = agent.condition.starts
        agent.report()
        if agent.condition.starts > starts:
            moments.append(now_s)
        if (server := find_server(settings.directory)) is not None:
            assert wait_end(server.process, PATIENCE_S)
        now_s += 0.5
    agent.report()
    assert "no_such_flag" in agent.condition.problem
    lost = [agent.condition.is_lost]
    now_s += 60.0
    assert [*lost, agent.condition.is_lost] == [False, True]
    agent.close()
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 4 * pauses[0]


def test_a_server_that_stops_answering_is_lost_until_it_answers(settings: NodeSettings) -> None:
    ahead_s = 0.0
    agent = NodeAgent(settings, lambda: time.monotonic() + ahead_s)
    agent.report()
    agent.obey(desire(settings, 3))
    before = report_with(agent, 3)
    server = pid_of(settings.directory)
    os.kill(server, signal.SIGSTOP)
    try:
        silent = agent.report()
        assert (silent.incarnation, silent.models) == (before.incarnation, {})
        assert "does not answer" in agent.condition.problem
        lost = [agent.condition.is_lost]
        ahead_s = 15.0
        assert [*lost, agent.condition.is_lost] == [False, True]
    finally:
        os.kill(server, signal.SIGCONT)
    assert set(report_with(agent, 3).models) == {"m"}  # the controller has forgotten them
    assert (agent.condition.is_lost, agent.condition.problem) == (False, "")
    agent.close()


def test_a_directory_has_one_agent(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "n1")
    with pytest.raises(FailedPrecondition):
        Lock(tmp_path / "n1")
    Lock(tmp_path / "n2").release()
    lock.release()
    Lock(tmp_path / "n1").release()


def test_where_access_is_controlled_the_agent_has_a_role_of_its_own(settings: NodeSettings) -> None:
    rules = settings.directory / "auth.yaml"
    rules.write_text(
        "schema: 1\n"
        "anonymous: {verbs: [health]}\n"
        "roles: {cluster: {verbs: [health, metadata, metrics, admin]}}\n"
    )
    flags = {**settings.flags, "auth_config_file": str(rules)}
    agent = NodeAgent(replace(settings, flags=flags), time.monotonic)
    agent.report()
    agent.obey(desire(settings, 3))
    assert report_with(agent, 3).incarnation
    agent.unsaid()
    assert set(agent.report().models) == {"m"}
    assert "salver_process_cpu_seconds_total" in agent.metrics_page()
    agent.close()


def memory_of(settings: NodeSettings) -> dict[str, bool]:
    """Whether each model is in memory, as the server says."""
    answer = requests.get(f"http://127.0.0.1:{settings.flags['rest_api_port']}/v1/models")
    return {
        model["name"]: version["in_memory"]
        for model in answer.json()["models"]
        for version in model["model_version_status"]
    }


@pytest.mark.parametrize("workers", ["1", "2"])
def test_models_that_should_be_in_memory_are_loaded_before_anybody_asks(
    settings: NodeSettings, model_path: Callable[[str], Path], workers: str
) -> None:
    flags = {**settings.flags, "lazy_load_models": "true", "workers": workers}
    agent = NodeAgent(replace(settings, flags=flags), time.monotonic)
    base_path = str(model_path("half_plus_two"))
    names = ("a", "b", "c")
    models = [{"name": name, "base_path": base_path} for name in names]
    agent.report()
    agent.obey(desire(settings, 3, config={"schema": 1, "models": models}))
    report_with(agent, 3)

    def becomes(resident: set[str], in_memory: set[str]) -> bool:
        agent.report()
        agent.obey(desire(settings, 3, config=None, resident=tuple(resident)))
        found = memory_of(settings)
        return found.keys() == {*names} and {name for name in names if found[name]} == in_memory

    eventually("all are available", lambda: becomes(set(), set()))
    eventually("two are in memory", lambda: becomes({"a", "c"}, {"a", "c"}))
    # What is desired no more is left alone, and so is what nobody has desired.
    eventually("all processes agree", lambda: becomes({"a"}, {"a", "c"}) and not agent.is_pending)
    said = agent.report()
    assert not any(each.requests for each in said.models.values())
    agent.close()


def test_a_model_in_a_process_of_its_own_is_reported_with_the_memory_that_it_has(
    settings: NodeSettings, model_path: Callable[[str], Path]
) -> None:
    agent = NodeAgent(settings, time.monotonic)
    base_path = str(model_path("half_plus_two"))
    models = [{"name": "m", "base_path": base_path, "salver": {"isolation": "process"}}]
    agent.report()
    agent.obey(desire(settings, 3, config={"schema": 1, "models": models}))

    def taken() -> int:
        agent.unsaid()
        said = agent.report().models.get("m", ModelReport())
        return said.version_bytes if said.version_bytes == said.resident_bytes else 0

    eventually("its process counts", lambda: taken() > 20 << 20)  # of files it has a few KiB
    agent.close()
