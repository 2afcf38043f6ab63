import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salver.backends.xgboost.model_file import check_model, read_document, read_facts
from salver.errors import DataLoss

ModelPath = Callable[[str], Path]
Change = Callable[[Any], None]
MODELS = (
    "binary raw regression softmax softprob ranking dart linear targets vectors table empty".split()  # noqa: SIM905
)


def check(data: bytes) -> bool:
    document = read_document(data)
    return check_model(document, read_facts(document))


@pytest.mark.parametrize("ending", ["ubj", "json"])
@pytest.mark.parametrize("name", MODELS)
def test_what_the_library_writes_is_whole(name: str, ending: str, model_path: ModelPath) -> None:
    path = model_path(f"xgboost_{name}_{ending}") / "1" / f"model.{ending}"
    assert check(path.read_bytes()) == (name != "vectors")


@pytest.mark.parametrize("ending", ["ubj", "json"])
def test_the_facts_tell_of_the_model(ending: str, model_path: ModelPath) -> None:
    path = model_path(f"xgboost_table_{ending}") / "1" / f"model.{ending}"
    facts = read_facts(read_document(path.read_bytes()))
    assert facts.names == ("age", "city", "income")
    assert facts.categories == {1: (b"Bonn", b"Lyon", b"Oslo")}
    assert (facts.objective, facts.booster, facts.outputs) == ("binary:logistic", "gbtree", 1)


def learner(document: Any) -> Any:
    return document["learner"]


def tree(document: Any) -> Any:
    return document["learner"]["gradient_booster"]["model"]["trees"][0]


def put(find: Callable[[Any], Any], key: Any, value: Any) -> Change:
    def change(document: Any) -> None:
        found = find(document)
        if isinstance(key, str) and key not in found:
            raise KeyError(key)
        found[key] = value

    return change


def drop(find: Callable[[Any], Any], key: str) -> Change:
    return lambda document: find(document).pop(key)


PARAMETERS = "learner_model_param"
WRONG: dict[str, Change] = {
    "child round": put(lambda of: tree(of)["left_children"], 0, 0),
    "child out": put(lambda of: tree(of)["left_children"], 0, 9999),
    "child twice": put(lambda of: tree(of)["left_children"], 0, 2),
    "child lost": put(lambda of: tree(of)["left_children"], 0, -1),
    "parent": put(lambda of: tree(of)["parents"], 1, 3),
    "parent of the root": put(lambda of: tree(of)["parents"], 0, 3),
    "feature": put(lambda of: tree(of)["split_indices"], 0, 3),
    "feature before": put(lambda of: tree(of)["split_indices"], 0, -1),
    "no whole number": put(lambda of: tree(of)["split_indices"], 0, 0.5),
    "huge number": put(lambda of: tree(of)["split_indices"], 0, 1e300),
    "short list": put(tree, "default_left", [0]),
    "a text for a list": put(tree, "left_children", "x"),
    "nested list": put(tree, "left_children", [1, [2]]),
    "nodes": put(lambda of: tree(of)["tree_param"], "num_nodes", "1000000000"),
    "no nodes": put(lambda of: tree(of)["tree_param"], "num_nodes", "0"),
    "features of a tree": put(lambda of: tree(of)["tree_param"], "num_feature", "4"),
    "categories": put(tree, "categories_sizes", [999999]),
    "no parents": drop(tree, "parents"),
    "tree number": put(lambda of: learner(of)["gradient_booster"]["model"]["tree_info"], 0, 7),
    "lost tree": lambda of: learner(of)["gradient_booster"]["model"]["trees"].pop(),
    "iterations": put(
        lambda of: learner(of)["gradient_booster"]["model"], "iteration_indptr", [0, 99]
    ),
    "booster": put(lambda of: learner(of)["gradient_booster"], "name", "gbforest"),
    "huge": put(lambda of: learner(of)[PARAMETERS], "num_feature", "4000000000"),
    "classes": put(lambda of: learner(of)[PARAMETERS], "num_class", "4000000"),
    "base": put(lambda of: learner(of)[PARAMETERS], "base_score", "[x"),
    "no base at all": put(lambda of: learner(of)[PARAMETERS], "base_score", {}),
    "names": put(learner, "feature_names", ["age"]),
    "names twice": put(learner, "feature_names", ["age", "age", "city"]),
    "no names": put(learner, "feature_names", [1, 2, 3]),
    "no learner": drop(lambda of: of, "learner"),
    "no objective": drop(lambda of: of["learner"], "objective"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_what_leads_the_library_out_of_its_memory_is_refused(
    change: Change, model_path: ModelPath
) -> None:
    path = model_path("xgboost_table_json") / "1" / "model.json"
    document = json.loads(path.read_text())
    change(document)
    with pytest.raises(DataLoss):
        check(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"binf\x00\x00",
        b'{"learner":' * 5000,
        b'{"learner": {}, "learner": {}}',
        b'{"learner": NaN, "learner": 1}',
        b'{"learner": {"a": [1, [2, 3]]}}',
        b'{"a": "\xff"}',
    ],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(DataLoss):
        check(data)


def test_json_with_numbers_that_json_has_not_is_read(model_path: ModelPath) -> None:
    path = model_path("xgboost_regression_json") / "1" / "model.json"
    document = json.loads(path.read_text())
    tree(document)["loss_changes"][0] = float("nan")
    assert check(json.dumps(document).encode())
