"""TensorFlow Serving's REST API as OpenAPI describes it: its calls, and what each model takes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from salver.errors import ServingError
from salver.inference.examples import check_classify_signature, check_regress_signature
from salver.openapi.description import ApiDescription, Object, Operation, ServedModel
from salver.openapi.parts import any_of, errors, json_answer, json_body, parameter, ref
from salver.tfs.rest.predict_schemas import predict_bodies, schema_name, schemas_of
from salver.tfs.rest.routes import ANY
from salver.tfs.rest.schemas import SCHEMAS
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature

__all__ = ["describe"]

_TAG: Final = "TensorFlow Serving"
_GREATEST: Final = 2**63 - 1
_NAME: Final = parameter("name", "Name of a model.")
_VERSION: Final = parameter(
    "version",
    "Number of a version.",
    {"type": "integer", "format": "int64", "minimum": 0, "maximum": _GREATEST},
)
_LABEL: Final = parameter("label", "Label of a version.")
_WHICH: Final = (
    ("", "", (_NAME,), "the newest version"),
    ("/versions/{version}", "_version", (_NAME, _VERSION), "one version"),
    ("/labels/{label}", "_label", (_NAME, _LABEL), "the version that has a label"),
)
_HEADERS: Final = {
    "salver-model-version": {
        "description": "Number of the version that answered.",
        "schema": {"type": "integer"},
    }
}
_INFERENCE_ERRORS: Final = (404, 429, 500, 501, 504)
_METHOD_WORDS: Final = {"classify": "Classify tf.Examples", "regress": "Regress tf.Examples"}


def describe() -> ApiDescription:
    """All of it."""
    return ApiDescription(
        operations=(
            Operation(method="get", path="/v1/models", about=_LIST),
            *_reports(),
            *_predicts(),
            *_of_examples("classify", _classifies),
            *_of_examples("regress", _regresses),
        ),
        schemas=SCHEMAS,
        schemas_of=schemas_of,
        tags=({"name": _TAG, "description": "TensorFlow Serving's REST API."},),
        unlisted={ANY: "refuses what is no call; answers CORS preflights"},
    )


# -- the calls -------------------------------------------------------------------------------------


def _about(
    id: str, summary: str, parameters: tuple[Object, ...], responses: Object, **more: Any
) -> dict[str, Any]:
    return {
        "operationId": id,
        "summary": summary,
        "tags": [_TAG],
        **({"parameters": list(parameters)} if parameters else {}),
        **more,
        "responses": responses,
    }


_LIST: Final = _about(
    "list_models",
    "All models, with their versions and labels",
    (),
    {"200": json_answer("The models.", ref("Models")), **errors()},
)


def _reports() -> Iterator[Operation]:
    for which, id, parameters, _ in _WHICH:
        if id != "_label":  # a label is ignored there, as in the reference
            yield Operation(
                method="get",
                path=f"/v1/models/{{name}}{which}",
                about=_about(
                    f"status{id}",
                    "State of one version" if id else "State of every version of a model",
                    parameters,
                    {"200": json_answer("The states.", ref("ModelStatus")), **errors(404)},
                ),
            )
    for which, id, parameters, words in _WHICH:
        answer = json_answer("The signatures.", ref("ModelMetadata"), headers=_HEADERS)
        yield Operation(
            method="get",
            path=f"/v1/models/{{name}}{which}/metadata",
            about=_about(
                f"metadata{id}",
                f"Signatures of {words}",
                parameters,
                {"200": answer, **errors(404, 429, 504)},
            ),
        )


def _predicts() -> Iterator[Operation]:
    for which, id, parameters, words in _WHICH:
        common = _predict(
            f"predict{id}", f"Ask {words}", parameters, ref("Predict"), ref("Predicted"), ()
        )
        yield Operation(
            method="post",
            path=f"/v1/models/{{name}}{which}:predict",
            about=common,
            of_model=partial(_predict_of_model, f"predict{id}"),
        )


def _predict_of_model(id: str, model: ServedModel) -> Object:
    bodies = [ref(schema_name(model, name, "predict")) for name in model.signatures]
    answers = [ref(schema_name(model, name, "predicted")) for name in model.signatures]
    about = _predict(
        id, f"Ask {model.title}", (), any_of(bodies), any_of(answers), predict_bodies(model)
    )
    description = model.about.description
    return {**about, "description": description} if description else about


def _predict(
    id: str,
    summary: str,
    parameters: tuple[Object, ...],
    body: Object,
    answer: Object,
    examples: Any,
) -> dict[str, Any]:
    return _about(
        id,
        summary,
        parameters,
        {
            "200": json_answer("What the model answers.", answer, headers=_HEADERS),
            **errors(*_INFERENCE_ERRORS),
        },
        requestBody=json_body(body, examples),
    )


def _of_examples(method: str, names_of: Callable[[ServedModel], list[str]]) -> Iterator[Operation]:
    for which, id, parameters, words in _WHICH:
        yield Operation(
            method="post",
            path=f"/v1/models/{{name}}{which}:{method}",
            about=_examples_about(method, id, parameters, words, None),
            of_model=partial(_examples_of_model, method, id, names_of),
        )


def _examples_of_model(
    method: str, id: str, names_of: Callable[[ServedModel], list[str]], model: ServedModel
) -> Object | None:
    names = names_of(model)
    return _examples_about(method, id, (), model.title, names) if names else None


def _examples_about(
    method: str, id: str, parameters: tuple[Object, ...], by: str, names: list[str] | None
) -> dict[str, Any]:
    return _about(
        f"{method}{id}",
        f"{_METHOD_WORDS[method]} by {by}",
        parameters,
        {
            "200": json_answer("The results.", ref(f"{method}_results"), headers=_HEADERS),
            **errors(*_INFERENCE_ERRORS),
        },
        requestBody=json_body(_examples_body(names), _example_bodies(names)),
    )


def _classifies(model: ServedModel) -> list[str]:
    return _passing(model, check_classify_signature)


def _regresses(model: ServedModel) -> list[str]:
    return _passing(model, check_regress_signature)


def _passing(model: ServedModel, check: Callable[..., None]) -> list[str]:
    info = ModelInfo(model.signatures)
    return [
        name for name, of in model.signatures.items() if _is_fed(of) and _passes(check, name, info)
    ]


def _is_fed(signature: Signature) -> bool:
    """Whether it takes serialized messages."""
    return all(spec.dtype is DataType.STRING for spec in signature.inputs.values())


def _passes(check: Callable[..., None], name: str, info: ModelInfo) -> bool:
    try:
        check(name, info, is_method_checked=False)
    except ServingError:
        return False
    return True


def _examples_body(names: list[str] | None) -> dict[str, Any]:
    if names is None:
        return ref("Examples")
    named = {"type": "object", "properties": {"signature_name": {"enum": names}}}
    if DEFAULT_SIGNATURE not in names:
        named["required"] = ["signature_name"]
    return {"allOf": [ref("Examples"), named]}


def _example_bodies(names: list[str] | None) -> list[tuple[str, Any]]:
    title = "one example; a signature does not say which features it takes"
    examples = [{"x": 0.5}]
    if names is None:
        return [(title, {"examples": examples})]
    return [(title, {"signature_name": name, "examples": examples}) for name in names]
