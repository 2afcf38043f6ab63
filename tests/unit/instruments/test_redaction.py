import time

import pytest
from tests.issuers import token

from salver.access.keys import new_key
from salver.instruments.redaction import redacted


@pytest.mark.parametrize("id", ["shop", "a.b-c_d", "salver1", "x" * 64])
def test_of_a_key_its_id_stays(id: str) -> None:
    key, _ = new_key(id, "scorer")
    text = f"/v1/models/m?api_key={key}&b=1"
    assert redacted(text) == f"/v1/models/m?api_key=salver_{id}_…&b=1"
    assert key[-32:-1] not in redacted(f"/v1/{key[:-1]}/x")


def test_of_a_token_nothing_stays() -> None:
    shown = token().decode()
    assert redacted(f"/v1/models/m?access_token={shown}&b=1") == "/v1/models/m?access_token=…&b=1"
    assert redacted(f"/v1/models/{shown}:predict") == "/v1/models/…:predict"


@pytest.mark.parametrize(
    "text",
    [
        "/v1/models/half_plus_two/versions/123:predict",
        "/v1/models/salver_demo_model_v2:predict",
        "/v1/models/eyJ.of.few",
        "/v1/models/keyJoint.v2/metadata",
        "",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("part", ["salver_", "eyJ", "eyJ.", "salver_eyJ.a_"])
def test_long_texts_take_no_time(part: str) -> None:
    began_s = time.process_time()
    redacted(part * 20_000)
    assert time.process_time() - began_s < 1
