"""Request bodies in JSON: what they say, once the signature they are meant for is known.

Readers stand behind each other as on a ladder, quickest first. Each takes a body or hands it on,
and none goes back to another: what it takes it reads as the last would, which knows every fault by
its name and place.

What would be many times its size as Python values is made into them by none of them whole: it is
scanned first, and read a part at a time, so that no body takes gigabytes, nor holds up the other
threads for long.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NoReturn

from salver.codecs.json.exact import ExactBody, read_exactly
from salver.codecs.json.examples import example_messages
from salver.codecs.json.flat import read_flat
from salver.codecs.json.long import read_long
from salver.codecs.json.pieces import read_pieces
from salver.codecs.json.plain import PlainBody, read_plain
from salver.codecs.json.reading import PredictInputs, Reader, Reading
from salver.codecs.json.tree import MISSING
from salver.codecs.json.values import read_tree_values, read_values
from salver.errors import InvalidArgument
from salver.vocabulary.requests import TakesLong
from salver.vocabulary.signature import Signature, TensorSpec

__all__ = ["SMALL_BODY_BYTES", "Document", "PredictInputs"]

SMALL_BODY_BYTES: Final = 2000
"""Where simdjson begins to be the quicker way (9 µs both, for 200 numbers in few lists); what is
smaller is soon read the slow way, too."""

# Whatever is larger is read a part at a time. Who goes through a body in one step, be it to count
# its commas, has the GIL for so long: 16 MiB take some 20 ms, memory for as much more included.
_LARGEST_WHOLE_BYTES = 16 << 20
_LARGE_BODY_BYTES = 256 << 10
# So many values make some 5 MB of Python objects, and keep orjson for some 3 ms.
_MOST_VALUES = 50_000


def _always() -> bool:
    return True


class Document:
    """A parsed request body: an object whose `signature_name` is a string, or not there.

    Attributes:
        signature_name: '' when the body has none.
        body: see `reading.Source`; so are the next two.
        is_active: see there.
        tree: see there.
    """

    def __init__(
        self,
        body: bytes,
        *,
        only_quickly: bool = False,
        is_active: Callable[[], bool] | None = None,
    ) -> None:
        """Parse a request's body.

        Args:
            body: of the request.
            only_quickly: rather raise TakesLong than take longer than a body of that size should;
                so does the document when it is asked. For bodies that are read in the loop.
            is_active: asked now and then while a large body is read the slow way; when it says no,
                that ends with Cancelled. Called in the thread that reads.

        Raises:
            InvalidArgument: it is no JSON, no object, or its `signature_name` is no string.
            TakesLong: it must be parsed again without `only_quickly`, not in the loop.
            Cancelled: nobody wants it any more.
        """
        self.body = body
        self.is_active = is_active or _always
        self.tree: Any = None
        self._is_quick = only_quickly
        self._readers: Iterator[Reader] | None = None
        reading: Reading | None = None
        if len(body) < SMALL_BODY_BYTES:
            reading = read_plain(self) or read_values(self)
        elif len(body) <= _LARGEST_WHOLE_BYTES:
            reading = read_flat(self)
        self._reading = reading
        if reading is None:
            reading = self._next()
        self.signature_name = reading.signature_name

    def _next(self) -> Reading:
        if self._readers is None:
            # Of the document it knows nothing: they would keep each other, and all that is read.
            is_plain = isinstance(self._reading, PlainBody)
            self._readers = iter(_ladder(self.body, is_plain, self._is_quick))
        for read in self._readers:
            reading = self._reading = read(self)
            if reading is not None:
                return reading
        raise AssertionError("the last reader takes every body")

    def predict_inputs(self, signature_name: str, signature: Signature) -> PredictInputs:
        """The arrays a predict request feeds, in the order of `signature.inputs`.

        Args:
            signature_name: as the request has it; only for the error's text.
            signature: of the version that will run.

        Raises:
            InvalidArgument: the inputs do not fit the signature; in the reference's words.
            Unimplemented: JSON cannot feed the dtype of an input.
            TakesLong: as the document was told.
            Cancelled: nobody wants it any more.
        """
        specs = signature.inputs
        if not specs:
            raise InvalidArgument(
                f"Failed to get input map for signature: {signature_name or 'DEFAULT'}"
            )
        return self._some_inputs(signature) if signature.optional else self._inputs(specs)

    def _inputs(self, specs: Mapping[str, TensorSpec]) -> PredictInputs:
        assert self._reading is not None
        found = self._reading.inputs(specs)
        while found is None:
            found = self._next().inputs(specs)
        return found

    def _some_inputs(self, signature: Signature) -> PredictInputs:
        """The same where some inputs may be left out.

        Those whose names do not stand in the body are. Where that is not sure, all are looked for
        first, and only if that is wrong the document is asked what it names.
        """
        absent = {name for name in signature.optional if not _may_name(self.body, name)}
        specs = {name: of for name, of in signature.inputs.items() if name not in absent}
        try:
            found = self._inputs(specs or signature.inputs)
        except InvalidArgument:
            named = self._exactly().names
            kept = {
                name: spec
                for name, spec in signature.inputs.items()
                if name in named or name not in signature.optional
            }
            if not kept and self._exactly().has_columns:
                return PredictInputs(signature.filled({}), is_row=False)
            if not kept or kept.keys() == (specs or signature.inputs).keys():
                raise
            specs = kept
            found = self._inputs(specs)
        given = dict(zip(specs or signature.inputs, found.arrays, strict=True))
        return PredictInputs(signature.filled(given), found.is_row)

    def examples(self, method: Literal["classify", "regress"]) -> list[bytes]:
        """The serialized `tensorflow.Example` messages of a classify or regress request.

        Args:
            method: of the request; the reference's messages say `classify` for both.

        Raises:
            InvalidArgument: in the reference's words.
            TakesLong: as the document was told.
            Cancelled: nobody wants it any more.
        """
        return example_messages(self._exactly().document, method)

    def has(self, key: str) -> bool:
        """Whether the body has a member of this name; raises as `examples`."""
        return self._exactly().document.get(key, MISSING) is not MISSING

    def _exactly(self) -> ExactBody:
        while not isinstance(self._reading, ExactBody):
            self._next()
        return self._reading


def _may_name(body: bytes, name: str) -> bool:
    """Whether a key may stand in a body: it is not hidden by an escape, nor surely absent."""
    return b"\\" in body or b'"%s"' % name.encode() in body


def _ladder(body: bytes, is_plain: bool, is_quick: bool) -> tuple[Reader, ...]:
    """The readers behind those that every body of its size is shown, as far as they may read it."""
    if is_plain:
        return (read_exactly,)  # of nothing but numbers no other makes more
    size = len(body)
    is_long = _is_long(body)  # asked late, as it takes half as long as simdjson does
    first: tuple[Reader, ...] = ()
    if not is_long and size >= SMALL_BODY_BYTES:
        first = (read_values,)
    if is_quick and size > SMALL_BODY_BYTES:
        return (*first, _read_elsewhere)
    if size > _LARGEST_WHOLE_BYTES:
        first = (read_pieces,)
    return (*first, read_long) if is_long else (*first, read_tree_values, read_exactly)


def _read_elsewhere(_source: object) -> NoReturn:
    """Leave the rest of the ladder to a thread."""
    raise TakesLong


def _is_long(body: bytes) -> bool:
    """Whether a body is better read a part at a time: if it is large, and of many small values."""
    if len(body) < _LARGE_BODY_BYTES:
        return False
    if len(body) > _LARGEST_WHOLE_BYTES:
        return True
    return body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES
