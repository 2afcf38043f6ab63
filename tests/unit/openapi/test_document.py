import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.openapi import validate

from salver.about.document import About, Example, InputAbout, SignatureAbout
from salver.openapi.description import Address, ApiDescription, Operation, ServedModel
from salver.openapi.document import MOST_BYTES, MOST_MODELS, Addressed, Described, document
from salver.openapi.document import schema_key as key_of
from salver.tfs.rest.description import describe
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

NEWEST = (Address("newest"),)
NAMES = st.text(min_size=1, max_size=12)


def half(inputs: int = 1) -> Signature:
    spec = TensorSpec(DataType.FLOAT32, (-1,))
    return Signature({f"x{n}": spec for n in range(inputs)}, {"y": spec})


def model(name: str, version: int = 1, about: "About | None" = None, **more: Any) -> ServedModel:
    return ServedModel(
        name=name,
        version=version,
        key=key_of(name, f"v{version}"),
        signatures=more.get("signatures", {DEFAULT_SIGNATURE: half()}),
        about=about or About(),
    )


def of(name: str, addresses: "tuple[Address, ...]" = NEWEST, **more: Any) -> Described:
    return Described(name, (Addressed(model(name, **more), addresses),))


def read(*models: Described, names: "list[str] | None" = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document([describe()], models, version="1.2.3", names=names))
    return found


def test_it_is_valid() -> None:
    validate(read(of("m"), of("n", about=About(title="N"))))
    validate(read())


def test_where_the_server_asks_who_asks_it_says_so() -> None:
    guarded = json.loads(document([describe()], [of("m")], version="1", is_guarded=True))
    validate(guarded)
    schemes = guarded["components"]["securitySchemes"]
    assert [each for [each] in guarded["security"]] == [*schemes] == ["bearer", "key"]
    assert schemes["key"]["name"] == "x-api-key"
    assert "security" not in read(of("m"))


def test_a_model_has_paths_of_its_own_beside_the_templates() -> None:
    paths = read(of("half plus/two"))["paths"]
    assert "/v1/models/{name}:predict" in paths
    assert "/v1/models/half%20plus%2Ftwo:predict" in paths


def test_versions_and_labels_have_theirs() -> None:
    ways = (*NEWEST, Address("version", "1"), Address("label", "stable"))
    found = read(of("m", ways))
    for path in ("m", "m/versions/1", "m/labels/stable"):
        assert f"/v1/models/{path}:predict" in found["paths"]
    validate(found)


def test_two_versions_each_have_their_own_schemas() -> None:
    second = model("m", 2, signatures={DEFAULT_SIGNATURE: half(2)})
    both = Described(
        "m",
        (
            Addressed(second, NEWEST),
            Addressed(model("m", 1), (Address("version", "1"),)),
        ),
    )
    found = read(both)
    validate(found)
    assert {"m.v1.serving_default.predict", "m.v2.serving_default.predict"} <= found["components"][
        "schemas"
    ].keys()


def test_of_very_many_models_a_hundred_are_described_and_all_are_named() -> None:
    names = [f"m{n}" for n in range(1000)]
    found = read(*(of(name) for name in names), names=names)
    described = [each["name"] for each in found["x-models"] if each["described"]]
    assert described == names[:MOST_MODELS]
    assert len(found["x-models"]) == 1000
    assert "/openapi.json?model=NAME" in found["info"]["description"]


def test_long_descriptions_do_not_make_a_document_without_end() -> None:
    about = About(description="x" * 1_000_000)
    found = document([describe()], [of(f"m{n}", about=about) for n in range(50)], version="1")
    assert len(found) < MOST_BYTES + 200_000


def test_the_first_model_is_described_however_long_that_is() -> None:
    about = About(description="x" * (MOST_BYTES + 1))
    found = read(of("m", about=about), of("n"))
    assert "/v1/models/m:predict" in found["paths"]
    assert "/v1/models/n:predict" not in found["paths"]


def test_a_model_of_which_nothing_is_known_is_named() -> None:
    found = read(Described("m"))
    assert found["x-models"] == [{"name": "m", "described": False}]
    assert "/v1/models/m:predict" not in found["paths"]


@settings(max_examples=20)  # the validator takes 50 ms
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True), text=st.text())
def test_whatever_models_are_called_and_say_it_is_valid(names: list[str], text: str) -> None:
    about = About(
        title=text,
        description=text,
        signatures={
            DEFAULT_SIGNATURE: SignatureAbout(
                title=text,
                inputs={"x0": InputAbout(title=text, names=(text,), choices=(text,))},
                examples=(Example(title=text, inputs={"x0": text}),),
            )
        },
    )
    found = read(*(of(name, about=about) for name in names))
    validate(found)
    assert [each["described"] for each in found["x-models"]] == [True] * len(names)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=2, unique=True))
def test_names_that_differ_have_schemas_that_do(pairs: list[tuple[str, str]]) -> None:
    first, second = pairs
    assert key_of(*first) != key_of(*second)


def test_a_name_that_is_no_text_is_described() -> None:
    name = b"\xff".decode(errors="surrogateescape")
    found = read(of(name))
    assert "/v1/models/%FF:predict" in found["paths"]
    validate(found)


def test_an_operation_that_a_model_does_not_have_is_left_out() -> None:
    api = ApiDescription(
        operations=(
            Operation(
                method="post",
                path="/x/{name}",
                about={"operationId": "x", "responses": {"200": {"description": ""}}},
                of_model=lambda _model: None,
            ),
        )
    )
    assert list(json.loads(document([api], [of("m")], version="1"))["paths"]) == ["/x/{name}"]
