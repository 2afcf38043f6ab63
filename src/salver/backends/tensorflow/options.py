"""How SavedModels are loaded."""

from dataclasses import dataclass

from salver.backends.options import option

__all__ = ["TensorFlowOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFlowOptions:
    """What the session flags, or a platform file in their place, say together.

    Attributes:
        saved_model_tags: the tag set to load.
        session_config: a serialized `tensorflow.ConfigProto`.
        custom_op_libraries: paths of shared objects that register operations.
        is_xla_enabled: whether graphs that ask for XLA get it.
        session_target: where sessions run; empty for this process.
        load_thread_pool: index of the thread pool of `session_config` that loads; None for any.
        has_session_metadata: whether a session is told the name and version of its model.
    """

    saved_model_tags: tuple[str, ...] = option(("serve",), setting="saved_model_tags")
    session_config: bytes = option(b"", setting="session_config")
    custom_op_libraries: tuple[str, ...] = option((), setting="custom_op_libraries")
    is_xla_enabled: bool = option(default=False, setting="is_xla_enabled")
    session_target: str = option("", setting="session_target")
    load_thread_pool: int | None = option(None, setting="load_thread_pool")
    has_session_metadata: bool = option(default=False, setting="has_session_metadata")
