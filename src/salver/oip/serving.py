"""The models of a server, as this protocol speaks of those that it has not."""

from collections.abc import Mapping, Sequence

from salver.errors import InvalidArgument, NotFound, ServingError, Unavailable
from salver.inference.serving import Handle, Serving
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.vocabulary.requests import ServableRequest

__all__ = ["OipServing", "unknown_model"]


class OipServing:
    """A `Serving` that finds what another finds, and refuses in Triton's words."""

    __slots__ = ("_serving", "model_names", "problem", "statuses")

    def __init__(self, serving: Serving) -> None:
        """Ask `serving`."""
        self._serving = serving
        self.statuses = serving.statuses
        self.model_names = serving.model_names
        self.problem = serving.problem

    def acquire(self, request: ServableRequest) -> Handle:
        """See `Serving`.

        Raises:
            NotFound: there is no such model or version.
            Unavailable: there is, but it does not answer now.
            ServingError: see `Serving.acquire`.
        """
        try:
            return self._serving.acquire(request)
        except NotFound as error:
            raise unknown_model(self._serving, request, error) from None
        except InvalidArgument as error:
            if request.label is None:
                raise
            raise unknown_model(self._serving, request, error) from None

    def labels(self, name: str) -> Mapping[str, int]:
        """See `Serving`."""
        return self._serving.labels(name)


def unknown_model(
    serving: Serving, request: ServableRequest, error: ServingError | None = None
) -> ServingError:
    """The error for a model that is not there, or not available, in words that clients match on."""
    said = f"Request for unknown model: '{request.name}'"
    if request.version is not None:
        said += f" version {request.version}"
    hint = None if error is None else error.hint or error.message
    if request.label is not None:
        return NotFound(f"{said} version {request.label} is not found", hint=hint)
    statuses: Sequence[VersionStatus] = ()
    try:
        statuses = serving.statuses(request.name, request.version)
    except NotFound:
        if request.name in serving.model_names() and request.version is None:
            return Unavailable(
                f"{said} has no available versions", hint=serving.problem(request.name)
            )
    if not statuses or all(of.state is VersionState.END for of in statuses):
        failed = next((of.error for of in statuses if of.error is not None), None)
        if failed is not None:
            return Unavailable(f"{said} is not at ready state", hint=failed.message)
        return NotFound(f"{said} is not found", hint=hint)
    return Unavailable(f"{said} is not at ready state", hint=hint)
