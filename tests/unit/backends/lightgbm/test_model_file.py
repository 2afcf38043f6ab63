from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.lightgbm.model_file import check_trees, read_head
from salver.errors import DataLoss

ModelPath = Callable[[str], Path]


@pytest.fixture
def data(model_path: ModelPath) -> bytes:
    return (model_path("lightgbm_table") / "1" / "model.txt").read_bytes()


def resized(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with a part of its first tree changed, and the size of that tree with it."""
    assert old in data
    changed = data.replace(old, new, 1)
    sizes = data.partition(b"tree_sizes=")[2].partition(b"\n")[0]
    first = int(sizes.split()[0])
    grown = b"%d" % (first + len(new) - len(old))
    return changed.replace(sizes, sizes.replace(b"%d" % first, grown, 1), 1)


def check(data: bytes) -> bool:
    return check_trees(data, read_head(data))


@pytest.mark.parametrize(
    "name",
    "binary regression multiclass ova ranking linear constant custom table forest".split(),  # noqa: SIM905
)
def test_what_the_library_writes_is_whole_and_familiar(name: str, model_path: ModelPath) -> None:
    assert check((model_path(f"lightgbm_{name}") / "1" / "model.txt").read_bytes())


def test_the_head_tells_of_the_model(data: bytes, model_path: ModelPath) -> None:
    head = read_head(data)
    assert (head.outputs, head.objective) == (1, "binary")
    assert head.names == ("age", "city", "income")
    assert head.pandas == (("Bonn", "Lyon", "Oslo"),)
    multiclass = (model_path("lightgbm_multiclass") / "1" / "model.txt").read_bytes()
    assert read_head(multiclass).outputs == 3
    custom = (model_path("lightgbm_custom") / "1" / "model.txt").read_bytes()
    assert read_head(custom).objective == ""


def test_a_file_that_was_cut_anywhere_before_its_parameters_end_is_refused(data: bytes) -> None:
    whole = data.index(b"end of parameters") + len(b"end of parameters")
    without_parameters = data.index(b"parameters:")
    for size in range(0, whole, 7):
        if data.index(b"end of trees") + 12 <= size <= without_parameters + 12:
            continue  # the library writes files that end here, too
        with pytest.raises(DataLoss):
            check(data[:size])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"split_feature=", b"split_feature=9"),
        (b"left_child=", b"left_child=99"),
        (b"\nright_child=", b"\nright_child=-99 "),
        (b"num_leaves=6", b"num_leaves=7"),
        (b"num_leaves=6", b"num_leaves=600000000"),
        (b"num_leaves=6", b"num_leaves=-6"),
        (b"num_cat=", b"num_cat=9"),
        (b"leaf_value=", b"leaf_value=1 "),
        (b"leaf_value=", b"leaf_value=-"),
        (b"threshold=", b"threshold=x"),
        (b"shrinkage=", b"shrinkage=?"),
        (b"cat_boundaries=0", b"cat_boundaries=1"),
        (b"cat_threshold=", b"cat_threshold=1 2 3 "),
        (b"num_cat=", b"num_leaves=6\nnum_cat="),
        (b"num_cat=", b"word\nnum_cat="),
    ],
)
def test_a_tree_that_leads_out_of_itself_is_refused(old: bytes, new: bytes, data: bytes) -> None:
    with pytest.raises(DataLoss, match=r"^tree 0 is malformed|stands twice"):
        check(resized(data, old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tree\n", b"bush\n"),
        (b"num_class=1", b"num_class=1000000000"),
        (b"num_class=1", b"num_class=x"),
        (b"num_class=1", b"num_class=2"),
        (b"num_tree_per_iteration=1", b"num_tree_per_iteration=2"),
        (b"max_feature_idx=2", b"max_feature_idx=3"),
        (b"feature_names=age city", b"feature_names=age age"),
        (b"feature_infos=", b"feature_infos=none "),
        (b"tree_sizes=", b"tree_sizes=9"),
        (b"tree_sizes=", b"tree_sizes=-"),
        (b"objective=binary", b"objective=\xff"),
        (b"end of trees", b"end of bushes"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(old: bytes, new: bytes, data: bytes) -> None:
    assert old in data
    with pytest.raises(DataLoss):
        check(data.replace(old, new, 1))


def test_another_version_of_the_format_is_strange_but_not_wrong(data: bytes) -> None:
    assert not check(data.replace(b"version=v4", b"version=v9"))
    assert not check(resized(data, b"shrinkage=", b"novelty=1\nshrinkage="))
