"""Protocol buffer messages in a descriptor pool of our own.

The pool is private because an in-process `import tensorflow` registers messages of the same names
in the default pool, and each name may be registered once. `descriptors.binpb` is compiled from the
`.proto` files beside it by `scripts/protos`.
"""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

__all__ = ["POOL", "message_class"]

POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(
    (Path(__file__).parent / "descriptors.binpb").read_bytes()
).file:
    POOL.Add(_file)


@cache
def message_class(full_name: str) -> "type[Any]":
    """The class of a message, such as `tensorflow.serving.ModelServerConfig`.

    Typed `Any`: the fields are known to the descriptors, not to the type checker.

    Raises:
        KeyError: no `.proto` file of ours defines it.
    """
    found: type[message.Message] = message_factory.GetMessageClass(
        POOL.FindMessageTypeByName(full_name)
    )
    return found
