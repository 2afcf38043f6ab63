"""Request bodies in JSON: what they say, once the signature they are meant for is known.

Three tiers, each for what the one before refuses: orjson for small bodies and simdjson for large
ones, with the arrays made in one go; the standard library's parser, which takes NaN; and our own,
which knows every fault by its name and place. The first proves that it reads as the last would.

What would be many times its size as Python values goes to none of them whole: it is scanned first,
and read a part at a time, so that no body takes gigabytes, nor holds up the other threads for long.
"""

from collections.abc import Callable
from typing import Any, Literal

import orjson

from salver.codecs import json_hints
from salver.codecs.json_arrays import PredictInputs
from salver.codecs.json_example import example_messages
from salver.codecs.json_flat import FlatDocument, flat_document
from salver.codecs.json_long import LARGEST_WHOLE_BYTES, is_long, long_tree
from salver.codecs.json_plain import is_said_once, plain_inputs, tree_inputs
from salver.codecs.json_predict import exact_inputs
from salver.codecs.json_tree import read_tree
from salver.codecs.json_value import MISSING, debug_text, find, is_object
from salver.errors import Cancelled, InvalidArgument
from salver.signature import Signature

__all__ = ["Document", "NotQuick", "PredictInputs", "parse_document"]

# Where simdjson begins to be the quicker way (9 µs both, for 200 numbers in few lists).
_LARGE_BODY_BYTES = 2000
# What is this small is soon read the slow way, too.
_TINY_BODY_BYTES = 2000


class NotQuick(Exception):
    """A body was to be read only if that is quick, and it is not; nothing is said of it yet."""


class Document:
    """A parsed request body: an object whose `signature_name` is a string, or not there.

    Attributes:
        signature_name: '' when the body has none.
    """

    __slots__ = (
        "_body",
        "_flat",
        "_is_long",
        "_is_wanted",
        "_only_quickly",
        "_plain",
        "_tree",
        "signature_name",
    )

    def __init__(
        self, body: bytes, only_quickly: bool, is_wanted: Callable[[], bool] | None
    ) -> None:
        """For `parse_document`, which knows how to fill it."""
        self._body = body
        self._only_quickly = only_quickly
        self._is_wanted = is_wanted
        self._is_long: bool | None = None
        self._plain: dict[str, Any] | None = None
        self._flat: FlatDocument | None = None
        self._tree: Any = None
        self.signature_name = ""

    def predict_inputs(self, signature_name: str, signature: Signature) -> PredictInputs:
        """The arrays a predict request feeds, in the order of `signature.inputs`.

        Args:
            signature_name: as the request has it; only for the error's text.
            signature: of the version that will run.

        Raises:
            InvalidArgument: the inputs do not fit the signature; in the reference's words.
            Unimplemented: JSON cannot feed the dtype of an input.
            NotQuick: as `parse_document` was told.
            Cancelled: nobody wants it any more.
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
            if type(tree) is dict and not self.is_long:
                found = tree_inputs(self._body, tree, signature)
            return found or exact_inputs(tree, signature)
        return found

    def examples(self, method: Literal["classify", "regress"]) -> list[bytes]:
        """The serialized `tensorflow.Example` messages of a classify or regress request.

        Args:
            method: of the request; the reference's messages say `classify` for both.

        Raises:
            InvalidArgument: in the reference's words.
            NotQuick: as `parse_document` was told.
            Cancelled: nobody wants it any more.
        """
        return example_messages(self._read(), method)

    @property
    def is_long(self) -> bool:
        """Whether the body is read a part at a time, when it is read the slow way."""
        if self._is_long is None:  # found out late, as it takes half as long as simdjson does
            self._is_long = is_long(self._body)
        return self._is_long

    def parse(self) -> "Document":
        """Parse the body; see `parse_document`."""
        body = self._body
        if len(body) >= _LARGE_BODY_BYTES:
            flat = flat_document(body) if len(body) <= LARGEST_WHOLE_BYTES else None
            if flat is not None:
                self._flat = flat
                self.signature_name = flat.signature_name
                return self
            if self.is_long:
                return self._parse_slowly()
        try:
            plain = orjson.loads(body)
        except ValueError:
            return self._parse_slowly()
        if type(plain) is not dict:
            return self._parse_slowly()
        if "signature_name" in plain:
            signature_name = plain["signature_name"]
            if type(signature_name) is not str or not is_said_once(body, "signature_name"):
                return self._parse_slowly()
            self.signature_name = signature_name
        self._plain = plain
        return self

    def _parse_slowly(self) -> "Document":
        tree = self._read()
        if not is_object(tree):
            raise InvalidArgument(
                f"JSON Value: {debug_text(tree)} Is not object",
                hint=json_hints.no_object(tree),
            )
        signature_name = find(tree, "signature_name")
        if signature_name is MISSING:
            signature_name = ""
        elif type(signature_name) is not str:
            raise InvalidArgument(
                f"JSON Value: {debug_text(tree)} not formatted correctly. "
                "'signature_name' key must be a string value."
            )
        self.signature_name = signature_name
        return self

    def _read(self) -> Any:
        if self._tree is None:
            if self._only_quickly and len(self._body) > _TINY_BODY_BYTES:
                raise NotQuick
            long = self.is_long
            # The tree keeps the check: were that a method, document and tree would keep each other.
            check = _check_of(self._is_wanted)
            self._tree = long_tree(self._body, check) if long else read_tree(self._body)
        return self._tree


def _check_of(is_wanted: Callable[[], bool] | None) -> Callable[[], None]:
    """What raises Cancelled when nobody wants the document any more."""

    def check() -> None:
        if is_wanted is not None and not is_wanted():
            raise Cancelled("Nobody waits for the answer any more")

    return check


def parse_document(
    body: bytes, *, only_quickly: bool = False, is_wanted: Callable[[], bool] | None = None
) -> Document:
    """Parse a request's body.

    Args:
        body: of the request.
        only_quickly: rather raise NotQuick than take longer than a body of that size should; so
            does the document when it is asked. For bodies that are read in the loop.
        is_wanted: asked now and then while a large body is read the slow way; when it says no,
            that ends with Cancelled. Called in the thread that reads.

    Raises:
        InvalidArgument: it is no JSON, no object, or its `signature_name` is no string.
        NotQuick: it must be parsed again without `only_quickly`, not in the loop.
        Cancelled: nobody wants it any more.
    """
    return Document(body, only_quickly, is_wanted).parse()
