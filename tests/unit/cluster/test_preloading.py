from salver.cluster.preloading import Preloading

ONE = (1,)


def test_models_are_brought_in_one_at_a_time() -> None:
    preloading = Preloading()
    assert preloading.next(("a", "b"), {"a": ONE, "b": ONE}, 0.0) == "a"
    assert preloading.next(("a", "b"), {"a": ONE, "b": ONE}, 1.0) == ""
    assert preloading.is_under_way
    assert preloading.next(("a", "b"), {"b": ONE}, 2.0) == "b"
    assert preloading.next(("a", "b"), {}, 3.0) == ""
    assert not preloading.is_under_way


def test_models_are_brought_in_in_the_order_in_which_they_are_desired() -> None:
    preloading = Preloading()
    cold = {"a": ONE, "b": ONE, "c": ONE}
    assert preloading.next(("c", "a", "b"), cold, 0.0) == "c"
    del cold["c"]
    assert preloading.next(("c", "a", "b"), cold, 1.0) == "a"


def test_only_what_is_desired_is_brought_in() -> None:
    assert Preloading().next(("c",), {"a": ONE, "b": ONE}, 0.0) == ""


def test_what_is_not_desired_any_more_is_waited_for_no_longer() -> None:
    preloading = Preloading()
    preloading.next(("a", "b"), {"a": ONE, "b": ONE}, 0.0)
    assert preloading.next(("b",), {"a": ONE, "b": ONE}, 1.0) == "b"
    assert preloading.next((), {"a": ONE, "b": ONE}, 2.0) == ""
    assert not preloading.is_under_way


def test_what_has_left_memory_is_not_brought_back_until_it_is_desired_again() -> None:
    preloading = Preloading()
    preloading.next(("a",), {"a": ONE}, 0.0)
    assert preloading.next(("a",), {}, 1.0) == ""
    assert preloading.next(("a",), {"a": ONE}, 200.0) == ""
    assert preloading.next((), {"a": ONE}, 201.0) == ""
    assert preloading.next(("a",), {"a": ONE}, 202.0) == "a"


def test_another_version_is_brought_in_too() -> None:
    preloading = Preloading()
    preloading.next(("a",), {"a": ONE}, 0.0)
    preloading.next(("a",), {}, 1.0)
    assert preloading.next(("a",), {"a": (2,)}, 2.0) == "a"


def test_a_model_that_takes_long_does_not_keep_the_others_out() -> None:
    preloading = Preloading()
    cold = {"a": ONE, "b": ONE}
    assert preloading.next(("a", "b"), cold, 0.0) == "a"
    assert preloading.next(("a", "b"), cold, 59.0) == ""
    assert preloading.next(("a", "b"), cold, 61.0) == "b"
