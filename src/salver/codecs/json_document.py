"""Request bodies in JSON: what they say, once the signature they are meant for is known.

Three tiers, each for what the one before refuses: orjson for small bodies and simdjson for large
ones, with the arrays made in one go; the standard library's parser, which takes NaN; and our own,
which knows every fault by its name and place. The first proves that it reads as the last would.
"""

from typing import Any, Literal

import orjson

from salver.codecs.json_arrays import PredictInputs
from salver.codecs.json_example import example_messages
from salver.codecs.json_flat import FlatDocument, flat_document
from salver.codecs.json_plain import is_said_once, plain_inputs, tree_inputs
from salver.codecs.json_predict import exact_inputs
from salver.codecs.json_tree import read_tree
from salver.codecs.json_value import MISSING, debug_text, find, is_object
from salver.errors import InvalidArgument
from salver.signature import Signature

__all__ = ["Document", "PredictInputs", "parse_document"]

# Where simdjson begins to be the quicker way (9 µs both, for 200 numbers in few lists).
_LARGE_BODY_BYTES = 2000


class Document:
    """A parsed request body: an object whose `signature_name` is a string, or not there.

    Attributes:
        signature_name: '' when the body has none.
    """

    __slots__ = ("_body", "_flat", "_plain", "_tree", "signature_name")

    def __init__(
        self,
        body: bytes,
        signature_name: str,
        *,
        plain: dict[str, Any] | None = None,
        flat: FlatDocument | None = None,
        tree: Any = None,
    ) -> None:
        self._body = body
        self._plain = plain
        self._flat = flat
        self._tree = tree
        self.signature_name = signature_name

    def predict_inputs(self, signature_name: str, signature: Signature) -> PredictInputs:
        """The arrays a predict request feeds, in the order of `signature.inputs`.

        Args:
            signature_name: as the request has it; only for the error's text.
            signature: of the version that will run.

        Raises:
            InvalidArgument: the inputs do not fit the signature; in the reference's words.
            Unimplemented: JSON cannot feed the dtype of an input.
        """
        if not signature.inputs:
            raise InvalidArgument(
                f"Failed to get input map for signature: {signature_name or 'DEFAULT'}"
            )
        found = None
        if self._plain is not None:
            found = plain_inputs(self._body, self._plain, signature)
        elif self._flat is not None:
            found = self._flat.inputs(signature)
        if found is None:
            tree = self._read()
            if type(tree) is dict:
                found = tree_inputs(self._body, tree, signature)
            return found or exact_inputs(tree, signature)
        return found

    def examples(self, method: Literal["classify", "regress"]) -> list[bytes]:
        """The serialized `tensorflow.Example` messages of a classify or regress request.

        Args:
            method: of the request; the reference's messages say `classify` for both.

        Raises:
            InvalidArgument: in the reference's words.
        """
        return example_messages(self._read(), method)

    def _read(self) -> Any:
        if self._tree is None:
            self._tree = read_tree(self._body)
        return self._tree


def parse_document(body: bytes) -> Document:
    """Parse a request's body.

    Raises:
        InvalidArgument: it is no JSON, no object, or its `signature_name` is no string.
    """
    if len(body) >= _LARGE_BODY_BYTES:
        flat = flat_document(body)
        if flat is not None:
            return Document(body, flat.signature_name, flat=flat)
    try:
        plain = orjson.loads(body)
    except ValueError:
        return _parse_slowly(body)
    if type(plain) is not dict:
        return _parse_slowly(body)
    if "signature_name" not in plain:
        return Document(body, "", plain=plain)
    signature_name = plain["signature_name"]
    if type(signature_name) is str and is_said_once(body, "signature_name"):
        return Document(body, signature_name, plain=plain)
    return _parse_slowly(body)


def _parse_slowly(body: bytes) -> Document:
    tree = read_tree(body)
    if not is_object(tree):
        raise InvalidArgument(
            f"JSON Value: {debug_text(tree)} Is not object",
            hint='The body must be a JSON object, for example {"instances": [[1.0, 2.0]]}.',
        )
    signature_name = find(tree, "signature_name")
    if signature_name is MISSING:
        signature_name = ""
    elif type(signature_name) is not str:
        raise InvalidArgument(
            f"JSON Value: {debug_text(tree)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return Document(body, signature_name, tree=tree)
