"""LightGBM's text format, read and checked: the library aborts the process for what it cannot read.

A file has a head of `key=value` lines, trees of the same kind, each of the size that the head says,
`end of trees`, and the parameters of the training. Everything that the library follows (sizes,
children, features, categories) is looked at here, before it sees the file.

Source: LightGBM 4, `src/boosting/gbdt_model_text.cpp` and `src/io/tree.cpp`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from salver.backends.trees.shape import check_binary_tree, check_within, must
from salver.errors import DataLoss
from salver.vocabulary.requests import Array

__all__ = ["MAGIC", "Head", "check_trees", "read_head"]

MAGIC: Final = b"tree"
"""The first line."""

_LARGEST_HEAD: Final = 256 << 20
_END: Final = b"end of trees"
_VERSIONS: Final = frozenset((b"v2", b"v3", b"v4"))
# Such as the library writes: of any other it says "no conversion to double", and aborts.
_NUMBER: Final = rb"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf|nan)"
_NUMBERS: Final = re.compile(rb"(?:%b(?: |$))*" % _NUMBER)
_MOST_CLASSES: Final = 100_000
_KNOWN_FLAGS: Final = frozenset((b"average_output",))
_CATEGORICAL: Final = 1  # of a decision_type
_PANDAS: Final = b"\npandas_categorical:"
_LINEAR: Final = frozenset((b"leaf_const", b"num_features", b"leaf_features", b"leaf_coeff"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a file says before and behind its trees.

    Attributes:
        outputs: numbers that a row gives.
        per_iteration: trees of one iteration.
        objective: its name; empty for a function of the user's own.
        names: of the features.
        infos: of each feature, what values it had.
        tree_sizes: bytes of each tree.
        trees_at: where the first tree begins.
        pandas: the categories of the categorical columns of a DataFrame, in their order.
        is_familiar: whether all of it is as the checks here know it.
    """

    outputs: int
    per_iteration: int
    objective: str
    names: tuple[str, ...]
    infos: tuple[str, ...]
    tree_sizes: Array
    trees_at: int
    pandas: tuple[tuple[Any, ...], ...] = ()
    is_familiar: bool = True


def read_head(data: bytes) -> Head:
    """Read what a file says of itself, without its trees.

    Raises:
        DataLoss: it is malformed, or a part is missing.
    """
    end = data.find(b"\n\n", 0, _LARGEST_HEAD)
    must(data.startswith(MAGIC) and end > 0, "it is no LightGBM model: it has no head")
    pairs, flags = _pairs(data[:end])
    features = _whole(pairs, b"max_feature_idx") + 1
    names = tuple(_text(pairs, b"feature_names").split(" "))
    infos = tuple(_text(pairs, b"feature_infos").split(" "))
    must(features == len(names) == len(infos), "its head does not name each of its features")
    must(len(set(names)) == len(names), "its head names a feature twice")
    outputs = _whole(pairs, b"num_class")
    per_iteration = _whole(pairs, b"num_tree_per_iteration")
    must(0 < outputs <= _MOST_CLASSES, "num_class is wrong")
    must(0 < per_iteration <= _MOST_CLASSES, "num_tree_per_iteration is wrong")
    must(outputs in (1, per_iteration), "num_class and num_tree_per_iteration do not agree")
    sizes = _numbers(pairs.get(b"tree_sizes", b""), "tree_sizes", np.int64)
    must(len(sizes) % per_iteration == 0, "trees of its last iteration are missing")
    must(per_iteration == 1 or len(sizes) > 0, "it has no trees")
    must(not sizes.size or bool(sizes.min() > 0 and sizes.max() < len(data)), "tree_sizes is wrong")
    is_familiar = pairs.get(b"version") in _VERSIONS and flags <= _KNOWN_FLAGS
    return Head(
        outputs=per_iteration,
        per_iteration=per_iteration,
        objective=_text(pairs, b"objective", "").partition(" ")[0],
        names=names,
        infos=infos,
        tree_sizes=sizes,
        trees_at=_skipped(data, end),
        pandas=_pandas(data),
        is_familiar=is_familiar,
    )


def check_trees(data: bytes, head: Head) -> bool:
    """Look at every tree, and at what follows them.

    Returns:
        Whether all is of the kinds that are known here.

    Raises:
        DataLoss: it is malformed, or a part is missing.
    """
    at, is_familiar = head.trees_at, head.is_familiar
    for number, size in enumerate(head.tree_sizes.tolist()):
        tree = data[at : at + size]
        must(len(tree) == size, f"it ends in tree {number} of {len(head.tree_sizes)}")
        is_familiar &= _check_tree(tree, number, len(head.names))
        at += size
    at = _skipped(data, at)
    must(data.startswith(_END, at), "it has no end of trees where its head says it is")
    rest = data[at:]
    begins = rest.find(b"\nparameters:\n")
    must(
        begins < 0 or rest.find(b"\nend of parameters", begins) > 0,
        "it ends in the parameters of the training",
    )
    must(b"\0" not in data, "it holds a NUL")
    return is_familiar


def _check_tree(tree: bytes, number: int, features: int) -> bool:
    what = f"tree {number} is malformed"
    first, _, body = tree.partition(b"\n")
    must(first == b"Tree=%d" % number, f"tree {number} is not where its head says it is")
    pairs, flags = _pairs(body)
    must(not flags, what)
    leaves = _whole(pairs, b"num_leaves", what)
    must(0 < leaves < len(tree), what)
    categories = _whole(pairs, b"num_cat", what)
    must(categories >= 0, what)
    is_linear = pairs.get(b"is_linear", b"0") != b"0"
    _check_counts(pairs, leaves, what)
    if leaves > 1:
        inner = leaves - 1
        left, right = (_ints(pairs, key, inner, what) for key in (b"left_child", b"right_child"))
        children = np.concatenate((left, right))
        # Leaves are counted from -1 down; after the inner nodes here.
        check_binary_tree(
            what, np.where(children < 0, leaves - 2 - children, children), inner + leaves
        )
        split = _ints(pairs, b"split_feature", inner, what)
        check_within(what, split, 0, features)
        _check_categories(pairs, inner, categories, what)
    if is_linear:
        _check_linear(pairs, leaves, features, what)
    return pairs.keys() <= _SIZES.keys() | _OTHERS | (_LINEAR if is_linear else frozenset())


_SIZES: Final[Mapping[bytes, tuple[int | None, bool]]] = {
    b"leaf_value": (0, True),
    b"leaf_weight": (0, False),
    b"leaf_count": (0, False),
    b"split_feature": (1, True),
    b"threshold": (1, True),
    b"left_child": (1, True),
    b"right_child": (1, True),
    b"decision_type": (1, False),
    b"split_gain": (1, False),
    b"internal_value": (1, False),
    b"internal_weight": (1, False),
    b"internal_count": (1, False),
    b"shrinkage": (None, False),
}
"""List → how many fewer than leaves it has, None: it is one; and whether it must be there."""

_OTHERS: Final = frozenset(
    (b"num_leaves", b"num_cat", b"cat_boundaries", b"cat_threshold", b"is_linear")
)


def _check_counts(pairs: Mapping[bytes, bytes], leaves: int, what: str) -> None:
    for key, (fewer, is_needed) in _SIZES.items():
        value = pairs.get(key)
        wanted = 1 if fewer is None else leaves - fewer
        if value is None or (leaves == 1 and not value.strip()):
            must(
                not is_needed or not wanted or (leaves == 1 and bool(fewer)),
                f"{what}: {key.decode()}",
            )
            continue
        must(len(value.split()) == wanted, f"{what}: {key.decode()}")
        must(_NUMBERS.fullmatch(value) is not None, f"{what}: {key.decode()}")


def _check_categories(pairs: Mapping[bytes, bytes], inner: int, count: int, what: str) -> None:
    kinds = _numbers(pairs.get(b"decision_type", b"0 " * inner), what, np.int64)
    check_within(what, kinds, -128, 128)
    is_categorical = (kinds & _CATEGORICAL) > 0
    if not count:
        must(not is_categorical.any(), f"{what}: it has no categories")
        return
    boundaries = _ints(pairs, b"cat_boundaries", count + 1, what)
    must(bool((np.diff(boundaries) >= 0).all()) and boundaries[0] == 0, f"{what}: cat_boundaries")
    bits = _ints(pairs, b"cat_threshold", int(boundaries[-1]), what)
    check_within(what, bits, 0, 1 << 32)
    thresholds = _floats(pairs.get(b"threshold", b""), what)[is_categorical]
    must(bool((thresholds == np.floor(thresholds)).all()), f"{what}: threshold")
    check_within(what, thresholds, 0, count)


def _check_linear(pairs: Mapping[bytes, bytes], leaves: int, features: int, what: str) -> None:
    """Look at leaves that are linear functions of some features, `num_features` of them each."""
    counts = _ints(pairs, b"num_features", leaves, what)
    check_within(what, counts, 0, features + 1)
    total = int(counts.sum())
    check_within(what, _ints(pairs, b"leaf_features", total, what), 0, features)
    must(len(_floats(pairs.get(b"leaf_coeff", b""), what)) == total, f"{what}: leaf_coeff")
    must(len(_floats(pairs.get(b"leaf_const", b""), what)) == leaves, f"{what}: leaf_const")


# -- lines -----------------------------------------------------------------------------------------


def _pairs(text: bytes) -> tuple[dict[bytes, bytes], frozenset[bytes]]:
    """The `key=value` lines of a part, and the lines that are a word alone."""
    pairs: dict[bytes, bytes] = {}
    flags: set[bytes] = set()
    for line in text.split(b"\n"):
        key, equals, value = line.rstrip(b"\r").partition(b"=")
        if not equals:
            if key.strip() and key.strip() != MAGIC:
                flags.add(key)
            continue
        must(key not in pairs, f"{_shown(key)} stands twice")
        pairs[key] = value
    return pairs, frozenset(flags)


def _whole(pairs: Mapping[bytes, bytes], key: bytes, what: str = "its head is malformed") -> int:
    value = pairs.get(key, b"")
    must(re.fullmatch(rb"\d{1,9}", value) is not None, f"{what}: {key.decode()}")
    return int(value)


def _text(pairs: Mapping[bytes, bytes], key: bytes, default: str | None = None) -> str:
    if key not in pairs and default is not None:
        return default
    must(key in pairs, f"its head is malformed: {key.decode()}")
    try:
        return pairs[key].decode()
    except UnicodeDecodeError as error:
        raise DataLoss(f"its head is malformed: {key.decode()}") from error


def _ints(pairs: Mapping[bytes, bytes], key: bytes, count: int, what: str) -> Array:
    numbers = _numbers(pairs.get(key, b""), f"{what}: {key.decode()}", np.int64)
    must(len(numbers) == count, f"{what}: {key.decode()}")
    return numbers


def _numbers(text: bytes, what: str, dtype: Any) -> Array:
    try:
        return np.array([int(word) for word in text.split()], dtype)
    except (ValueError, OverflowError) as error:
        raise DataLoss(what) from error


def _floats(text: bytes, what: str) -> Array:
    try:
        return np.array([float(word) for word in text.split()], np.float64)
    except ValueError as error:
        raise DataLoss(what) from error


def _skipped(data: bytes, at: int) -> int:
    """The first byte from `at` that ends no line."""
    while data[at : at + 1] in (b"\n", b"\r"):
        at += 1
    return at


def _shown(key: bytes) -> str:
    return key[:40].decode(errors="replace")


def _pandas(data: bytes) -> tuple[tuple[Any, ...], ...]:
    """The categories that LightGBM's Python package writes behind everything else."""
    at = data.rfind(_PANDAS)
    if at < 0:
        return ()
    try:
        found = json.loads(data[at + len(_PANDAS) :])
    except (ValueError, RecursionError):
        return ()
    if not isinstance(found, list) or not all(isinstance(each, list) for each in found):
        return ()
    return tuple(tuple(each) for each in found)
