"""XGBoost's files, as JSON or UBJSON, read and checked before the library sees them.

It refuses most of what is wrong, but follows some of it (lengths, children of nodes, features) out
of its memory, or round in a circle for ever.

Source: XGBoost 3, `doc/model.schema` and `src/tree/tree_model.cc`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import simdjson

from salver.backends.trees.shape import check_binary_tree, check_within, must
from salver.backends.xgboost.ubjson import read_ubjson
from salver.errors import DataLoss
from salver.vocabulary.requests import Array

__all__ = ["Facts", "check_model", "read_document", "read_facts"]

_UBJSON_HEADS: Final = (b"{L", b"{i", b"{U", b"{I", b"{l")
_MOST_FEATURES: Final = 10_000_000
_MOST_OUTPUTS: Final = 100_000
_DEEPEST: Final = 32
_NO_CHILD: Final = -1
_NO_PARENT: Final = (-1, 2**31 - 1)
_CATEGORICAL: Final = 1
_NUMBERS: Final = re.compile(r"\[?\s*[-+.\dEe]+(?:\s*,\s*[-+.\dEe]+)*\s*\]?")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file says of its model.

    Attributes:
        features: how many there are.
        names: of the features; empty where it has none.
        categories: feature → its categories, in the order of their numbers.
        classes: num_class; 0 where it is no classifier of several.
        outputs: numbers that a row gives before the objective's transformation.
        objective: its name.
        booster: gbtree, dart or gblinear.
        best_iteration: the last to be used; None: all.
    """

    features: int
    names: tuple[str, ...]
    categories: Mapping[int, tuple[Any, ...]]
    classes: int
    outputs: int
    objective: str
    booster: str
    best_iteration: int | None


# -- reading ---------------------------------------------------------------------------------------


def read_document(data: bytes) -> Document:
    """What a file holds: dicts, lists, texts, and arrays of numbers.

    Raises:
        DataLoss: it is malformed, or cut.
    """
    if data.startswith(_UBJSON_HEADS):  # no JSON begins so
        document = read_ubjson(data)
    else:
        must(data.lstrip()[:1] == b"{", "it is neither JSON nor UBJSON")
        document = _read_json(data)
    must(isinstance(document, dict), "it is no object")
    found: Document = document
    return found


def _read_json(data: bytes) -> Any:
    try:
        return _plain(simdjson.Parser().parse(data), 0)
    except (ValueError, RuntimeError):  # NaN, perhaps, which JSON has not and XGBoost writes
        pass
    try:
        return _arrays(json.loads(data, object_pairs_hook=_unique), 0)
    except (ValueError, RecursionError) as error:
        raise DataLoss(f"it is no JSON: {error}") from error


def _plain(value: Any, depth: int) -> Any:
    """What simdjson read, as ours: lists of numbers never become lists of Python."""
    must(depth <= _DEEPEST, "it is too deep")
    if isinstance(value, simdjson.Object):
        keys = list(value.keys())
        must(len(set(keys)) == len(keys), "a name stands twice in one object")
        return {key: _plain(value[key], depth + 1) for key in keys}
    if isinstance(value, simdjson.Array):
        first: Any = value[0] if len(value) else None
        if type(first) in (int, float):
            try:
                numbers = np.frombuffer(value.as_buffer(of_type="d"), np.float64)
            except TypeError as error:
                raise DataLoss("a list of numbers holds something else") from error
            must(len(numbers) == len(value), "a list of numbers holds lists")
            return numbers
        return [_plain(each, depth + 1) for each in value]
    return value


def _arrays(value: Any, depth: int) -> Any:
    must(depth <= _DEEPEST, "it is too deep")
    if isinstance(value, dict):
        return {key: _arrays(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        if value and all(type(each) in (int, float) for each in value):
            return np.array(value, np.float64)
        return [_arrays(each, depth + 1) for each in value]
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    must(len(members) == len(pairs), "a name stands twice in one object")
    return members


# -- what it says ----------------------------------------------------------------------------------


def read_facts(document: Document) -> Facts:
    """What a document says of its model, without its trees.

    Raises:
        DataLoss: a part is missing, or is of the wrong kind.
    """
    learner = _object(document, "learner")
    parameters = _object(learner, "learner_model_param")
    features = _whole(parameters, "num_feature")
    classes = _whole(parameters, "num_class")
    targets = _whole(parameters, "num_target", 1)
    must(0 < features <= _MOST_FEATURES, "num_feature is wrong")
    must(classes <= _MOST_OUTPUTS and 0 < targets <= _MOST_OUTPUTS, "num_class is wrong")
    must(min(classes, targets) <= 1, "it has several classes of several targets")
    base_score = parameters.get("base_score", "0")
    must(_NUMBERS.fullmatch(str(base_score)) is not None, "base_score is wrong")
    named = learner.get("feature_names", [])
    must(isinstance(named, list), "feature_names is wrong")
    names = tuple(named)
    must(all(isinstance(name, str) for name in names), "feature_names is wrong")
    must(len(names) in (0, features), "it does not name each of its features")
    must(len(set(names)) == len(names), "it names a feature twice")
    objective = _object(learner, "objective")
    must(isinstance(objective.get("name"), str), "it names no objective")
    booster = _object(learner, "gradient_booster")
    must(booster.get("name") in ("gbtree", "dart", "gblinear"), "its booster is unknown")
    outputs = max(classes, targets, 1)
    _check_objective(objective, classes)
    return Facts(
        features=features,
        names=names,
        categories=_categories(_trees(booster), features),
        classes=classes,
        outputs=outputs,
        objective=objective["name"],
        booster=booster["name"],
        best_iteration=_best_iteration(learner),
    )


def _best_iteration(learner: Document) -> int | None:
    attributes = learner.get("attributes")
    text = attributes.get("best_iteration") if isinstance(attributes, dict) else None
    return int(text) if isinstance(text, str) and re.fullmatch(r"\d{1,9}", text) else None


def _check_objective(objective: Document, classes: int) -> None:
    told = objective.get("softmax_multiclass_param")
    if isinstance(told, dict):
        must(_whole(told, "num_class") == classes, "its objective has other classes")


def _trees(booster: Document) -> Document:
    """The part that holds the trees; empty for a linear model."""
    if booster["name"] == "gblinear":
        return {}
    return _object(_object(booster, "gbtree") if booster["name"] == "dart" else booster, "model")


def _categories(model: Document, features: int) -> dict[int, tuple[Any, ...]]:
    """The categories that XGBoost 3.1 and later keep in the file."""
    kept = model.get("cats")
    found = kept.get("enc") if isinstance(kept, dict) else None
    if not isinstance(found, list) or len(found) != features:
        return {}
    return {at: values for at, each in enumerate(found) if (values := _category_values(each))}


def _category_values(encoded: Any) -> tuple[Any, ...]:
    if not isinstance(encoded, dict):
        return ()
    values = _integers_or_floats(encoded.get("values"))
    if "offsets" not in encoded:
        return tuple(float(each) for each in values.tolist())
    offsets = _integers(encoded["offsets"], "categories")
    text = values.astype(np.int64).astype(np.uint8).tobytes()
    must(not len(offsets) or offsets[-1] == len(text), "categories")
    pairs = zip(offsets.tolist(), offsets.tolist()[1:], strict=False)
    return tuple(text[start:end] for start, end in pairs)


# -- checks ----------------------------------------------------------------------------------------


def check_model(document: Document, facts: Facts) -> bool:
    """Look at everything that the library follows.

    Returns:
        Whether all is of the kinds that are known here.

    Raises:
        DataLoss: it is malformed.
    """
    booster = _object(_object(document, "learner"), "gradient_booster")
    if facts.booster == "gblinear":
        weights = _integers_or_floats(_object(booster, "model").get("weights"))
        must(len(weights) == (facts.features + 1) * facts.outputs, "weights")
        return True
    model = _trees(booster)
    trees = model.get("trees")
    must(isinstance(trees, list), "it has no trees")
    assert isinstance(trees, list)
    must(
        _whole(_object(model, "gbtree_model_param"), "num_trees") == len(trees), "trees are missing"
    )
    groups = _integers(model.get("tree_info"), "tree_info")
    must(len(groups) == len(trees), "tree_info")
    check_within("tree_info", groups, 0, facts.outputs)
    if "iteration_indptr" in model:
        ends = _integers(model["iteration_indptr"], "iteration_indptr")
        must(bool((np.diff(ends) >= 0).all()), "iteration_indptr")
        must(len(ends) > 0 and ends[0] == 0 and ends[-1] == len(trees), "iteration_indptr")
    if facts.booster == "dart":
        must(len(_integers_or_floats(booster.get("weight_drop"))) == len(trees), "weight_drop")
    is_familiar = True
    for number, tree in enumerate(trees):
        must(isinstance(tree, dict), f"tree {number} is malformed")
        is_familiar &= _check_tree(tree, facts, f"tree {number} is malformed")
    return is_familiar


_PER_NODE: Final = ("split_conditions", "default_left", "sum_hessian", "loss_changes")


def _check_tree(tree: Document, facts: Facts, what: str) -> bool:
    parameters = _object(tree, "tree_param")
    count = _whole(parameters, "num_nodes")
    must(count > 0, what)
    must(_whole(parameters, "num_feature", facts.features) == facts.features, what)
    vector = _whole(parameters, "size_leaf_vector", 1)
    left, right, features = (
        _integers(tree.get(key), what)
        for key in ("left_children", "right_children", "split_indices")
    )
    must(len(left) == len(right) == len(features) == count, what)
    is_inner = left != _NO_CHILD
    children = np.concatenate((left[is_inner], right[is_inner]))
    check_binary_tree(what, children, count)
    _check_parents(_integers(tree.get("parents"), what), is_inner, children, what)
    check_within(what, features[is_inner], 0, facts.features)
    for key in _PER_NODE:
        if key in tree:
            must(len(_integers_or_floats(tree[key])) == count, f"{what}: {key}")
    weights = _integers_or_floats(tree.get("base_weights"))
    must(len(weights) == count * max(vector, 1), f"{what}: base_weights")
    _check_categories(tree, count, what)
    if vector <= 1:
        must(bool((right[~is_inner] == _NO_CHILD).all()), what)
    elif "leaf_weights" in tree:  # by the number that a leaf has in the place of its right child
        leaves = len(_integers_or_floats(tree["leaf_weights"])) // vector
        check_within(what, right[~is_inner], _NO_CHILD, leaves)
    return vector <= 1


def _check_parents(parents: Array, is_inner: Array, children: Array, what: str) -> None:
    must(len(parents) == len(is_inner), what)
    inner = np.flatnonzero(is_inner)
    must(bool((parents[children] == np.concatenate((inner, inner))).all()), what)
    must(bool(parents[0] in _NO_PARENT), what)


def _check_categories(tree: Document, count: int, what: str) -> None:
    if "split_type" not in tree:
        return
    kinds = _integers(tree["split_type"], what)
    must(len(kinds) == count, what)
    check_within(what, kinds, 0, 2)
    nodes, segments, sizes, categories = (
        _integers(tree.get(key, []), what)
        for key in ("categories_nodes", "categories_segments", "categories_sizes", "categories")
    )
    must(len(nodes) == len(segments) == len(sizes), what)
    must(bool((np.diff(nodes) > 0).all()), what)
    check_within(what, nodes, 0, count)
    must(set(np.flatnonzero(kinds == _CATEGORICAL).tolist()) == set(nodes.tolist()), what)
    check_within(what, segments, 0, len(categories) + 1)
    check_within(what, sizes, 0, len(categories) + 1)
    check_within(what, segments + sizes, 0, len(categories) + 1)
    check_within(what, categories, 0, 1 << 24)


# -- members ---------------------------------------------------------------------------------------


def _object(of: Document, name: str) -> Document:
    found = of.get(name)
    must(isinstance(found, dict), f"{name} is missing")
    assert isinstance(found, dict)
    return found


def _whole(of: Document, name: str, default: int | None = None) -> int:
    """A number, which XGBoost writes as a text."""
    found = of.get(name, default)
    must(re.fullmatch(r"\d{1,10}", str(found)) is not None, f"{name} is wrong")
    return int(str(found))


def _integers_or_floats(value: Any) -> Array:
    if isinstance(value, list) and all(type(each) in (int, float) for each in value):
        return np.array(value, np.float64)
    must(isinstance(value, np.ndarray), "a list of numbers is missing, or holds something else")
    found: Array = value
    return found


def _integers(value: Any, what: str) -> Array:
    numbers = _integers_or_floats(value)
    if numbers.dtype.kind == "f":
        must(bool((np.abs(numbers) <= 2.0**62).all()), what)
        must(bool((numbers == np.floor(numbers)).all()), what)
    whole: Array = numbers.astype(np.int64)
    return whole
