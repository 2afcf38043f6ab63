"""Files that hold a ModelServerConfig: text protobuf, or YAML or JSON by the ending of their name.

In YAML and JSON `models` stands for `model_config_list.config`, `schema: 1` may say which edition
of the format it is, and a model that names no platform is of the one that looks at its files.
"""

from collections.abc import Callable
from typing import Any, Final

from salver._pb import message_class
from salver.config.documents import Node
from salver.config.models import TENSORFLOW_PLATFORM
from salver.config.structured import Places, fill, plain, read_document, write
from salver.config.text_format import Misplaced, ending_of, message_of_text, wrong_file

__all__ = ["MESSAGE", "model_server_config", "of_document", "parse", "write_models"]

MESSAGE: Final = "tensorflow.serving.ModelServerConfig"
_SCHEMA: Final = 1


def parse(content: bytes, path: str, breathe: Callable[[], object] = lambda: None) -> Any:
    """Read what a file holds; `breathe` is called now and then meanwhile.

    Raises:
        InvalidArgument: naming `path`; where it is wrong is logged.
    """
    try:
        return model_server_config(content, path, breathe)
    except Misplaced as error:
        form = ending_of(path).lstrip(".").upper() or "text-format"
        raise wrong_file(error, path, MESSAGE, form) from error


def model_server_config(
    content: bytes,
    path: str,
    breathe: Callable[[], object] = lambda: None,
    places: Places | None = None,
) -> Any:
    """The same, without a word to the log.

    Args:
        content: of the file.
        path: whose ending says what it is.
        breathe: see `parse`.
        places: is given the places of what a YAML or JSON document says.

    Raises:
        Misplaced: it is no such message.
    """
    ending = ending_of(path)
    if not ending:
        return message_of_text(content, MESSAGE, breathe)
    return of_document(read_document(content, ending, breathe), places)


def of_document(document: Node | None, places: Places | None = None) -> Any:
    """The message of a document.

    Args:
        document: that was read; None for none.
        places: is given the places of what it says.

    Raises:
        Misplaced: it is of no such message.
    """
    message = message_class(MESSAGE)()
    if document is not None and document.value is not None:
        fill(message, _without_shorthand(document), places)
    for model in message.model_config_list.config:
        if not model.model_platform and not model.model_type:
            model.model_platform = TENSORFLOW_PLATFORM
    return message


def _without_shorthand(document: Node) -> Node:
    if not isinstance(document.value, dict):
        return document  # wrong, as will be said
    fields = dict(document.value)
    key, schema = fields.pop("schema", (document, None))
    if schema is not None and (schema.value != _SCHEMA or isinstance(schema.value, bool)):
        raise schema.wrong(f"schema must be {_SCHEMA}")
    if "models" in fields:
        key, models = fields.pop("models")
        if fields:
            raise next(iter(fields.values()))[0].wrong("models stands for all that there is")
        if not isinstance(models.value, (list, type(None))):
            raise models.wrong("models must be a list")
        if models.value is not None:
            fields["model_config_list"] = key, Node(key.line, key.column, {"config": (key, models)})
    return Node(document.line, document.column, fields)


def write_models(message: Any, ending: str) -> str:
    """A ModelServerConfig as YAML or JSON."""
    document = plain(message)
    if "model_config_list" in document:
        models = document.pop("model_config_list").get("config", [])
        document = {"schema": _SCHEMA, "models": models, **document}
    return write(document, ending)
