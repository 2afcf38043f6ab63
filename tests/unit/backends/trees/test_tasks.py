import numpy as np

from salver.backends.trees.tasks import softmax, two_classes


def test_the_probability_of_the_second_class_gives_both() -> None:
    scores = two_classes(np.array([0.25, 1.0]))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[0.75, 0.25], [0, 1]])


def test_margins_become_scores_however_large_they_are() -> None:
    scores = softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    np.testing.assert_array_equal(scores, np.array([[0.5, 0.5], [1, 0]], np.float32))
