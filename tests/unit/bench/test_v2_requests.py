import json

import numpy as np
import pytest

from salver.bench.v2_requests import check_v2, infer_exchange, infer_path
from salver.client.exchange import Which
from salver.errors import InvalidArgument

LENGTH = "Inference-Header-Content-Length"


def test_each_form_has_its_tensors_so() -> None:
    feeds = {"x": np.zeros((1000, 1), np.float32)}
    text = infer_exchange(Which("m"), "serving_default", feeds, "json")
    assert text.headers == {}
    assert len(json.loads(text.body or b"")["inputs"][0]["data"]) == 1000
    assert "parameters" not in json.loads(text.body or b"")
    raw = infer_exchange(Which("m"), "serving_default", {"x": feeds["x"][:1]}, "binary")
    length = int(raw.headers[LENGTH])
    assert (raw.body or b"")[length:] == b"\0\0\0\0"
    usual = infer_exchange(Which("m"), "serving_default", feeds, "auto")
    assert len(usual.body or b"") - int(usual.headers[LENGTH]) == 4000


def test_the_path_is_that_of_infer() -> None:
    assert infer_path(Which("a b", 3)) == "/v2/models/a%20b/versions/3/infer"


@pytest.mark.parametrize(
    ("method", "form", "is_grpc", "has_bodies"),
    [
        ("classify", "auto", False, False),
        ("auto", "json", True, False),
        ("auto", "auto", True, True),
        ("auto", "binary", False, True),
    ],
)
def test_what_the_protocol_has_not_is_refused(
    method: str, form: str, is_grpc: bool, has_bodies: bool
) -> None:
    with pytest.raises(InvalidArgument):
        check_v2(method, form, is_grpc=is_grpc, has_bodies=has_bodies)  # type: ignore[arg-type]
