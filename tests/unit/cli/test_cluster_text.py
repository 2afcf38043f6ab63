from typing import Any

from salver.cli.cluster_text import drain_line, status_lines

NODE = {
    "name": "n1",
    "state": "live",
    "rest": "10.0.0.1:8501",
    "zone": "a",
    "memory_bytes": 4 << 30,
    "used_bytes": 3 << 20,
    "models": 2,
    "is_behind": False,
    "condition": {"server_pid": 17, "is_outdated": False, "niceness": 0, "problem": ""},
}
MODEL = {
    "name": "digits",
    "state": "available",
    "versions": [1, 2],
    "labels": {"stable": 1},
    "nodes": ["n1", "n2"],
    "available": ["n1"],
    "leaving": ["n3"],
    "replicas": 2,
    "requests_per_second": 1.25,
    "error": "",
}


def status(**more: Any) -> dict[str, Any]:
    whole = {
        "name": "shop",
        "generation": 3,
        "is_settled": True,
        "nodes": [NODE],
        "models": [MODEL],
    }
    return {**whole, "restarting": "", "problems": {}, **more}


def test_nodes_and_models_have_a_line_each() -> None:
    assert status_lines(status()) == [
        "Cluster shop, generation 3: settled",
        "",
        "NODE  STATE  REST           ZONE  MODELS  MEMORY          SERVER",
        "n1    live   10.0.0.1:8501  a     2       3 MiB of 4 GiB  process 17",
        "",
        "MODEL   STATE      VERSIONS       REPLICAS  REQ/S  NODES",
        "digits  available  1 (stable), 2  1/2       1.2    n1, n2 (loading), n3 (leaving)",
    ]


def test_what_is_wrong_stands_at_the_end() -> None:
    nice = {**NODE, "condition": {**NODE["condition"], "niceness": 15}}  # type: ignore[dict-item]
    ended = {**NODE, "name": "n2", "condition": {**NODE["condition"], "problem": "it has ended"}}  # type: ignore[dict-item]
    broken = {**MODEL, "error": "version 2 at n1: no such file"}
    lines = status_lines(
        status(nodes=[nice, ended], models=[broken], problems={"journal": "the disk is full"})
    )
    after = lines[lines.index("Problems") + 1 :]
    assert after[0] == "journal: the disk is full"
    assert "RAY_worker_niceness=0" in after[1]
    assert after[2:] == ["n2: it has ended", "digits: version 2 at n1: no such file"]


def test_a_node_without_a_server_and_a_restart_are_told_of() -> None:
    lines = status_lines(
        status(nodes=[{**NODE, "condition": None, "is_behind": True}], restarting="n1")
    )
    assert lines[0].endswith("restarting the server of n1")
    assert "live, behind" in lines[3]
    assert lines[3].endswith("none")


def test_of_very_many_models_the_first_are_shown() -> None:
    models = [{**MODEL, "name": f"m{number}"} for number in range(300)]
    assert status_lines(status(models=models))[-1] == "... and 100 more; --json has all"


def test_a_cluster_without_anything_is_shown_too() -> None:
    assert status_lines(status(nodes=[], models=[]))[0].startswith("Cluster shop")


def test_a_drain_says_what_it_waits_for() -> None:
    draining = status(nodes=[{**NODE, "state": "draining"}])
    assert drain_line(draining, "n1") == "n1 is draining ..."
    draining["problems"] = {"the drain of n1": "no other node has room; it waits"}
    assert drain_line(draining, "n1") == "n1 is draining: no other node has room; it waits"
    assert drain_line(draining, "n2") == ""


def test_a_node_may_be_stopped_when_its_server_has_ended() -> None:
    drained = {**NODE, "state": "drained"}
    waits = "n1 is drained: its server answers what it has begun"
    assert drain_line(status(nodes=[drained]), "n1") == waits
    assert drain_line(status(nodes=[{**drained, "condition": None}]), "n1") == waits
    assert drain_line(status(nodes=[{**drained, "condition": {"server_pid": 0}}]), "n1") == ""
