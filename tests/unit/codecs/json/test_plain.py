from typing import Any

import numpy as np
import pytest
from tests.json_bodies import Body, inputs_by, signature

from salver.codecs.json.plain import read_plain
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature

FLOAT = signature(x=DataType.FLOAT32)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b'{"instances": [1.0, 2.0, 5.0]}', [1, 2, 5]),
        (b'\n{\t"instances" : [[-1.5],\r\n[2]]}', [[-1.5], [2]]),
        (b'{"inputs": [[1, 2]]}', [[1, 2]]),
        (b'{"inputs": 5}', 5),
        (b'{"instances": [1%b]}' % (b"0" * 60), [np.inf]),
    ],
)
def test_bodies_of_nothing_but_numbers_are_read_at_once(body: bytes, rows: Any) -> None:
    found = inputs_by(read_plain, body, FLOAT)
    assert found is not None
    assert found.is_row == (b"instances" in body)
    [array] = found.arrays
    assert array.dtype == np.float32
    assert array.tolist() == rows


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": []}',
        b'{"instances": 5}',
        b'{"instances": [1e5]}',
        b'{"instances": [NaN]}',
        b'{"instances": ["1"]}',
        b'{"instances": [true]}',
        b'{"instances": [1], "instances": [2]}',
        b'{"instances": [1], "signature_name": "s"}',
        b'{"inputs": [1], "instances": [1]}',
        b'{"inst4nces": [1]}',
        b'{"instances ": [1]}',
        b'[{"instances": [1]}]',
        b'{"instances": [1]]}',
        b'{"instances": [01]}',
        b'{"instances":}',
        b"",
    ],
)
def test_other_bodies_are_left_to_others(body: bytes) -> None:
    assert read_plain(Body(body)) is None


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"instances": [[1.0], [1.0, 2.0]]}', FLOAT),
        (b'{"instances": [[1], 2]}', FLOAT),
        (b'{"instances": [1.5]}', signature(x=DataType.INT32)),
        (b'{"instances": [1]}', signature(x=DataType.BOOL)),
        (b'{"instances": [1]}', signature(x=DataType.STRING)),
        (b'{"instances": [1]}', signature(x=DataType.FLOAT32, y=DataType.FLOAT32)),
    ],
)
def test_numbers_that_are_irregular_or_of_another_type_are_left_to_others(
    body: bytes, wanted: Signature
) -> None:
    assert inputs_by(read_plain, body, wanted) is None
