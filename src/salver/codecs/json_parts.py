"""Some rows of a long list → arrays, by the quick ways, as if they were a request of their own."""

import orjson

from salver.codecs.json_flat import flat_document
from salver.codecs.json_plain import plain_inputs, tree_inputs
from salver.codecs.json_tree import read_tree
from salver.codecs.json_value import Part, base64_text
from salver.requests import Array
from salver.signature import Signature

__all__ = ["part_arrays"]


def part_arrays(part: Part, signature: Signature, *, is_named: bool) -> list[Array] | None:
    """The rows in a part, one array per input; None if the quick ways doubt them.

    Args:
        part: of the rows.
        signature: what they are for.
        is_named: whether the rows are objects of named inputs, rather than values of the only one.
    """
    if part.is_long:
        return None
    body = b'{"instances":[%b]}' % part.text()
    flat = flat_document(body)
    if flat is not None:
        found = flat.inputs(signature) if flat.is_named == is_named else None
        if found is not None:
            return found.arrays
    try:
        document = orjson.loads(body)
        read = plain_inputs
    except ValueError:
        document = read_tree(body)
        read = tree_inputs
    first = document["instances"][0]
    if is_named != (type(first) is dict and base64_text(first) is None):
        return None
    found = read(body, document, signature)
    return None if found is None else found.arrays
