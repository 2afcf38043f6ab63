from typing import Any

import numpy as np
import pytest

from salver.about.checks import misfits
from salver.about.document import About, Example, InputAbout, OutputAbout, SignatureAbout
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec

SIGNATURES = {
    "s": Signature(
        inputs={
            "image": TensorSpec(DataType.FLOAT32, (-1, 8, 8)),
            "person": TensorSpec(DataType.FLOAT32, (-1, 2)),
        },
        outputs={
            "p": TensorSpec(DataType.FLOAT32, (-1, 10)),
            "q": TensorSpec(DataType.FLOAT32, (-1, 1)),
            "id": TensorSpec(DataType.INT64, (-1,)),
        },
    ),
    "open": Signature(
        inputs={"x": TensorSpec(DataType.FLOAT32, None)},
        outputs={"y": TensorSpec(DataType.FLOAT32, (-1, -1))},
    ),
}


def of(**members: Any) -> About:
    return About(signatures={"s": SignatureAbout(**members)})


EMPTY = [[0.0] * 8] * 8


def test_what_fits_is_not_told_of() -> None:
    about = of(
        inputs={"image": InputAbout(title="x"), "person": InputAbout(names=("age", "size"))},
        outputs={
            "p": OutputAbout(labels=tuple("0123456789")),
            "q": OutputAbout(labels=("no", "yes")),
            "id": OutputAbout(labels=("a", "b", "c")),
        },
        examples=(
            Example(inputs={"image": EMPTY, "person": [1, 2]}),
            Example(inputs={"image": [EMPTY] * 3, "person": [[1, 2]] * 3}),
            Example(inputs={"person": [1, 2]}, files={"image": "a.png"}),
        ),
    )
    assert misfits(about, SIGNATURES) == []
    anything = SignatureAbout(
        inputs={"x": InputAbout(names=("a",))},
        outputs={"y": OutputAbout(labels=("a",))},
        examples=(Example(inputs={"x": "anything"}),),
    )
    assert misfits(About(signatures={"open": anything}), SIGNATURES) == []


@pytest.mark.parametrize(
    ("about", "told"),
    [
        (About(signatures={"t": SignatureAbout()}),
         "signatures.t: the model has no such signature; it has 's', 'open'"),
        (of(inputs={"img": InputAbout()}),
         "signatures.s.inputs.img: the signature has no such input; it has 'image', 'person'"),
        (of(outputs={"y": OutputAbout()}),
         "signatures.s.outputs.y: the signature has no such output; it has 'p', 'q', 'id'"),
        (of(inputs={"person": InputAbout(names=("age",))}),
         "signatures.s.inputs.person.names: 1 names for 2 columns"),
        (of(outputs={"p": OutputAbout(labels=("a", "b"))}),
         "signatures.s.outputs.p.labels: 2 labels for 10 classes"),
        (of(outputs={"q": OutputAbout(labels=("a", "b", "c"))}),
         "signatures.s.outputs.q.labels: 3 labels for 1 classes"),
        (of(examples=(Example(inputs={"image": EMPTY}),)),
         "signatures.s.examples[0]: input 'person' has no value"),
        (of(examples=(Example(inputs={"image": [[1]], "person": [1, 2]}),)),
         "signatures.s.examples[0].inputs.image: (1, 1) is no row, and no rows, of (-1, 8, 8)"),
        (of(examples=(Example(inputs={"image": EMPTY, "person": [1, 2]}, files={"z": "a"}),)),
         "signatures.s.examples[0]: the signature has no such input; it has 'image', 'person'; "
         "'z' is none"),
    ],
)  # fmt: skip
def test_what_the_model_has_not_is_told_of(about: About, told: str) -> None:
    assert misfits(about, SIGNATURES) == [told]


def test_an_input_with_a_default_may_be_left_out_of_an_example() -> None:
    signature = Signature(
        SIGNATURES["s"].inputs, SIGNATURES["s"].outputs, defaults={"person": np.zeros(1)}
    )
    assert misfits(of(examples=(Example(inputs={"image": EMPTY}),)), {"s": signature}) == []
