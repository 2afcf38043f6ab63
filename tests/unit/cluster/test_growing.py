from typing import Any

import pytest

from salver.cluster.growing import wanted_nodes
from salver.cluster.spec import NodesSpec


def status(nodes: list[str], models: list[str] | None = None) -> dict[str, Any]:
    return {
        "nodes": [{"name": f"n{at}", "state": state} for at, state in enumerate(nodes)],
        "restarting": "",
        "models": [{"state": state} for state in models or []],
    }


@pytest.mark.parametrize(
    ("nodes", "models", "bounds", "wanted"),
    [
        ([], [], (1, 0), 1),
        ([], [], (3, 0), 3),
        (["live", "silent"], ["available"], (1, 0), 2),
        (["live", "live"], ["nowhere"], (1, 0), 3),
        (["live", "live"], ["nowhere"], (1, 2), 2),
        ([], ["nowhere"], (1, 5), 1),
        (["live", "drained", "draining"], [], (1, 0), 1),
        (["live", "drained"], [], (2, 0), 2),
    ],
)
def test_nodes_are_those_that_are_there_and_one_more_for_a_model_that_fits_nowhere(
    nodes: list[str], models: list[str], bounds: tuple[int, int], wanted: int
) -> None:
    spec = NodesSpec(min=bounds[0], max=bounds[1])
    assert wanted_nodes(spec, status(nodes, models)) == wanted


def test_a_node_whose_server_is_being_started_anew_stays() -> None:
    found = {**status(["live", "drained"]), "restarting": "n1"}
    assert wanted_nodes(NodesSpec(), found) == 2
