import numpy as np
import pytest

from salver.bench.inputs import describe_feeds, random_feeds
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DTYPES, DataType, numpy_dtype
from salver.vocabulary.signature import Signature, TensorSpec


def of(**inputs: TensorSpec) -> Signature:
    return Signature(dict(inputs), {}, defaults={"optional": np.zeros(1)})


def spec(dtype: DataType, *shape: int) -> TensorSpec:
    return TensorSpec(dtype, shape)


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("declared", "made"),
    [((-1, 28, 28), (3, 28, 28)), ((-1, -1, 2), (3, 1, 2)), ((5, -1), (5, 1)), ((), ())],
)
def test_open_axes_get_the_rows_and_then_one(
    declared: tuple[int, ...], made: tuple[int, ...]
) -> None:
    feeds = random_feeds(of(x=TensorSpec(DataType.FLOAT32, declared)), 3, RANDOM)
    assert feeds["x"].shape == made


def test_a_tensor_of_unknown_rank_is_a_vector() -> None:
    feeds = random_feeds(of(x=TensorSpec(DataType.INT32, None)), 4, RANDOM)
    assert feeds["x"].shape == (4,)


@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d.storage is not None])
def test_every_dtype_that_an_array_can_hold_is_made(dtype: DataType) -> None:
    (array,) = random_feeds(of(x=spec(dtype, 50, 2)), 1, RANDOM).values()
    assert array.dtype == numpy_dtype(dtype)
    assert array.shape == (50, 2)
    assert len(set(array.ravel().tolist())) > 1


def test_values_are_what_such_inputs_usually_hold() -> None:
    signature = of(
        pixel=spec(DataType.UINT8, 999), scaled=spec(DataType.FLOAT32, 999),
        id=spec(DataType.INT64, 999), word=spec(DataType.STRING, 2),
    )  # fmt: skip
    feeds = random_feeds(signature, 1, RANDOM)
    assert (feeds["pixel"].min(), feeds["pixel"].max()) == (0, 255)
    assert 0 <= feeds["scaled"].min() < 0.1
    assert 0.9 < feeds["scaled"].max() <= 1
    assert set(feeds["id"].tolist()) == set(range(10))
    assert all(len(word) == 8 and word.isalpha() for word in feeds["word"].tolist())
    assert describe_feeds(feeds, signature) == (
        "pixel uint8 [999], scaled float [999], id int64 [999], word string [2]"
    )


def test_an_input_with_a_default_is_left_out() -> None:
    feeds = random_feeds(
        of(x=spec(DataType.FLOAT32, 1), optional=spec(DataType.FLOAT32)), 1, RANDOM
    )
    assert list(feeds) == ["x"]


def test_what_cannot_be_made_up_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Nothing can be fed to input x of type resource"):
        random_feeds(of(x=spec(DataType.RESOURCE)), 1, RANDOM)
    with pytest.raises(InvalidArgument, match="Input x is no dense tensor") as caught:
        random_feeds(of(x=TensorSpec(DataType.FLOAT32, None, is_dense=False)), 1, RANDOM)
    assert caught.value.hint == "give a request with --input FILE"
