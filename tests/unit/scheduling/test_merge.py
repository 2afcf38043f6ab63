from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import FailedPrecondition, Internal, InvalidArgument
from salver.scheduling.merge import (
    check_can_pad,
    join_outputs,
    merge_inputs,
    rows_of,
    shape_key,
    split_outputs,
)
from salver.vocabulary.requests import Array


def array(*rows: Any, dtype: Any = np.float32) -> Array:
    return np.array(rows, dtype)


class TestRows:
    def test_rows_are_the_size_that_all_feeds_share(self) -> None:
        assert rows_of([np.zeros((3, 2)), np.zeros(3)]) == 3
        assert rows_of([np.zeros((0, 2))]) == 0

    @pytest.mark.parametrize(
        ("feeds", "text"),
        [
            ([], "Batching Run() must have at least one input tensor"),
            (
                [np.zeros(2), np.zeros(())],
                "Batching Run() input tensors must have at least one dimension",
            ),
            (
                [np.zeros(2), np.zeros((3, 2))],
                "Batching Run() input tensors must have equal 0th-dimension size",
            ),
        ],
    )
    def test_what_cannot_be_batched_is_refused(self, feeds: list[Array], text: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            rows_of(feeds)
        assert caught.value.message == text


class TestCanPad:
    def test_up_to_six_axes_can_be_padded(self) -> None:
        check_can_pad([np.zeros((1,) * 6), array(b"a", dtype=object)])
        with pytest.raises(InvalidArgument) as caught:
            check_can_pad([np.zeros((1,) * 7)])
        assert caught.value.message == "Only tensors with rank from 1 to 6 can be padded."

    def test_of_the_newer_dtypes_only_bfloat16_can_be_padded(self) -> None:
        check_can_pad([np.zeros(1, ml_dtypes.bfloat16)])
        with pytest.raises(InvalidArgument) as caught:
            check_can_pad([np.zeros(1, ml_dtypes.float8_e5m2)])
        assert caught.value.message == "Unsupported type"


class TestShapeKey:
    def test_tasks_of_other_inner_shapes_can_only_be_merged_with_padding(self) -> None:
        short, long = [np.zeros((1, 2))], [np.zeros((3, 5))]
        assert shape_key(short, is_padding=False) != shape_key(long, is_padding=False)
        assert shape_key(short, is_padding=True) == shape_key(long, is_padding=True)

    def test_other_dtypes_and_ranks_are_never_merged(self) -> None:
        for is_padding in (False, True):
            keys = {
                shape_key(feeds, is_padding=is_padding)
                for feeds in (
                    [np.zeros((1, 2))], [np.zeros((1, 2), np.int32)], [np.zeros((1, 2, 2))]
                )
            }  # fmt: skip
            assert len(keys) == 3

    def test_a_task_without_an_element_is_not_padded(self) -> None:
        assert shape_key([np.zeros((1, 0))], is_padding=True) == shape_key(
            [np.zeros((1, 0))], is_padding=False
        )


class TestMerging:
    def test_feeds_are_joined_in_order(self) -> None:
        merged = merge_inputs(
            ["x", "y"],
            [[array([1, 2]), array(5)], [array([3, 4], [5, 6]), array(6, 7)]],
            3,
            is_padding=False,
        )
        assert [m.tolist() for m in merged] == [[[1, 2], [3, 4], [5, 6]], [5, 6, 7]]

    def test_a_lone_task_is_not_copied(self) -> None:
        feed = array(1, 2)
        assert merge_inputs(["x"], [[feed]], 2, is_padding=True)[0] is feed

    def test_missing_rows_are_the_first_row_of_the_last_task(self) -> None:
        merged = merge_inputs(["x"], [[array(1)], [array(2, 3)]], 5, is_padding=False)
        assert merged[0].tolist() == [1, 2, 3, 2, 2]

    def test_other_inner_shapes_are_refused_without_padding(self) -> None:
        with pytest.raises(FailedPrecondition) as caught:
            merge_inputs(["a:0"], [[array([1])], [array([1, 2])]], 2, is_padding=False)
        assert caught.value.message == (
            "Tensors with name 'a:0' from different tasks have different shapes and padding is "
            "turned off. Set pad_variable_length_inputs to true, or ensure that all tensors with "
            "the same name have equal dimensions starting with the first dim."
        )

    def test_inner_axes_grow_to_the_longest_with_the_first_element_of_their_task(self) -> None:
        merged = merge_inputs(["x"], [[array([7, 2, 3])], [array([4], [5])]], 3, is_padding=True)
        assert merged[0].tolist() == [[7, 2, 3], [4, 4, 4], [5, 4, 4]]

    def test_every_inner_axis_grows_by_itself(self) -> None:
        merged = merge_inputs(
            ["x"], [[np.full((1, 1, 3), 8)], [np.full((1, 2, 1), 9)]], 2, is_padding=True
        )
        assert merged[0].tolist() == [[[8, 8, 8], [8, 8, 8]], [[9, 9, 9], [9, 9, 9]]]

    def test_rows_that_fill_up_are_taken_after_padding(self) -> None:
        merged = merge_inputs(["x"], [[array([1, 2])], [array([3])]], 3, is_padding=True)
        assert merged[0].tolist() == [[1, 2], [3, 3], [3, 3]]

    def test_strings_are_padded_with_strings_even_where_they_end_in_nul(self) -> None:
        merged = merge_inputs(
            ["x"],
            [[array([b"a\0"], dtype=object)], [array([b"b", b"c"], dtype=object)]],
            2,
            is_padding=True,
        )
        assert merged[0].tolist() == [[b"a\0", b"a\0"], [b"b", b"c"]]
        assert merged[0].dtype == object

    def test_a_tensor_without_an_element_cannot_be_padded(self) -> None:
        with pytest.raises(InvalidArgument) as caught:
            merge_inputs(["x"], [[np.zeros((1, 0))], [np.zeros((1, 2))]], 2, is_padding=True)
        assert caught.value.message == "Got empty tensor in batch of non-empty tensors."


class TestSplitting:
    def test_each_task_gets_its_rows_and_padding_is_dropped(self) -> None:
        outputs = [array(1, 2, 3, 4), array([1], [2], [3], [4])]
        parts = split_outputs(outputs, [1, 2], 4)
        assert [[p.tolist() for p in part] for part in parts] == [
            [[1], [[1]]],
            [[2, 3], [[2], [3]]],
        ]

    def test_an_output_without_an_axis_is_refused(self) -> None:
        with pytest.raises(FailedPrecondition) as caught:
            split_outputs([array(1, 2), np.float32(1) * np.ones(())], [1, 1], 2)
        assert caught.value.message == "Batched output tensor has 0 dimensions"

    @pytest.mark.parametrize("rows", [1, 2, 4])
    def test_an_output_of_other_rows_is_refused(self, rows: int) -> None:
        with pytest.raises(FailedPrecondition) as caught:
            split_outputs([np.zeros(rows)], [1, 1], 3)
        assert caught.value.message == (
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors"
        )

    def test_pieces_of_a_task_are_joined(self) -> None:
        assert [o.tolist() for o in join_outputs([[array(1)], [array(2, 3)]])] == [[1, 2, 3]]
        assert join_outputs([[array(1)]])[0].tolist() == [1]

    def test_pieces_that_do_not_fit_together_are_an_error(self) -> None:
        with pytest.raises(Internal, match=r"^Tensor concat operation failed: "):
            join_outputs([[array([1])], [array([1, 2])]])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 4), st.data())
def test_merging_running_and_splitting_gives_what_each_task_gets_alone(
    sizes: list[int], missing: int, data: st.DataObject
) -> None:
    values = st.integers(-1000, 1000)
    feeds = [
        [
            np.array(data.draw(st.lists(values, min_size=n, max_size=n)), np.int64),
            np.array(data.draw(st.lists(values, min_size=2 * n, max_size=2 * n))).reshape(n, 2),
        ]
        for n in sizes
    ]

    def run(inputs: list[Array]) -> list[Array]:
        return [inputs[0] * 2 + 1, inputs[1][:, ::-1] - inputs[0][:, None]]

    rows = sum(sizes) + missing
    merged = merge_inputs(["x", "y"], feeds, rows, is_padding=False)
    assert [len(m) for m in merged] == [rows, rows]
    for alone, part in zip(map(run, feeds), split_outputs(run(merged), sizes, rows), strict=True):
        for expected, given_back in zip(alone, part, strict=True):
            np.testing.assert_array_equal(given_back, expected)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=6))
def test_padding_keeps_what_was_there(shapes: list[tuple[int, int]]) -> None:
    feeds = [[np.full(shape, serial + 1)] for serial, shape in enumerate(shapes)]
    rows = sum(shape[0] for shape in shapes)
    (merged,) = merge_inputs(["x"], feeds, rows, is_padding=True)
    assert merged.shape == (rows, max(shape[1] for shape in shapes))
    begin = 0
    for serial, (n, _) in enumerate(shapes):
        assert (merged[begin : begin + n] == serial + 1).all()
        begin += n
