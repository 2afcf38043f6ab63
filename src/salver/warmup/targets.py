"""What warmup records are made for, by the files of a version."""

from salver.backends.selection import Selected
from salver.errors import InvalidArgument
from salver.warmup.making import Target

__all__ = ["target_of"]

_HINT = "Publish the loaded model instead of its file, or make them with salver warmup."


def target_of(found: Selected, model_name: str, *, may_convert: bool) -> Target:
    """A version, as far as it can be known without a load.

    Args:
        found: what its files are.
        model_name: as requests name it.
        may_convert: whether a conversion may be made to know it, which takes seconds.

    Raises:
        InvalidArgument: only a load tells what it takes.
        ServingError: its files cannot be read.
    """
    info = found.info()
    if info is None and may_convert:
        variants = found.backend.describe(found.path, found.options)
        info = variants[0].info if variants else None
    if info is None:
        raise InvalidArgument(
            f"Warmup requests cannot be made for a {found.backend.title}: only a load tells what "
            "it takes",
            hint=None if may_convert else _HINT,
        )
    return Target(model_name, info)
