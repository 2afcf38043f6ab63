"""Ray itself, imported when it is needed, in the way that its clusters need it."""

import logging
import os
import stat
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Final, cast

from salver.errors import NotInstalled

__all__ = ["LOOPBACK", "ONE_MACHINE", "import_ray", "read_environment_again", "token_path"]

_log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
ONE_MACHINE: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

_MODE: Final = "RAY_AUTH_MODE"
_TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - the name of a variable
_PATH: Final = "RAY_AUTH_TOKEN_PATH"
_TOKEN_MODE: Final = "token"  # noqa: S105 - of Ray's authentication


def token_path(environment: MutableMapping[str, str]) -> Path:
    """Where Ray looks for the token of its clusters."""
    return Path(environment.get(_PATH) or "~/.ray/auth_token").expanduser()


def import_ray(address: str = "") -> ModuleType:
    """The package, with its own messages turned down.

    A token that is there is used: clusters of Ray that want one refuse who shows none, and those
    that want none do not mind it.

    Args:
        address: of the cluster that is meant, as far as it is known.

    Raises:
        NotInstalled: it is not there.
    """
    _use_token(os.environ)
    if address.startswith(LOOPBACK + ":"):
        _stay_on_this_machine(os.environ)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise NotInstalled(
            f"Clusters need Ray, which cannot be imported: {error}",
            hint="pip install 'salver[cluster]'",
        ) from None
    return cast("ModuleType", ray)


def read_environment_again(ray: ModuleType) -> None:
    """Have Ray know of the token even where somebody has imported it before us.

    It reads the environment when it is imported, and its own commands read it again in this way.
    """
    library = ray._raylet
    if not ray.is_initialized() and hasattr(library, "AuthenticationTokenLoader"):
        library.Config.initialize("")
        library.AuthenticationTokenLoader.instance().reset_cache()


def _stay_on_this_machine(environment: MutableMapping[str, str]) -> None:
    """Have Ray take 127.0.0.1 for what it is.

    It would look for the address by which others reach the machine. The variable is named for the
    systems where it does not by default; Ray reads it when it is imported.
    """
    environment[ONE_MACHINE] = "0"
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None:
        constants.ENABLE_RAY_CLUSTER = False  # type: ignore[attr-defined]


def _use_token(environment: MutableMapping[str, str]) -> None:
    path = token_path(environment)
    if _MODE not in environment and (environment.get(_TOKEN) or path.is_file()):
        environment[_MODE] = _TOKEN_MODE
    if environment.get(_MODE) == _TOKEN_MODE:
        _keep_private(path)


def _keep_private(path: Path) -> None:
    """Ray writes its token with the rights of any file."""
    with suppress(OSError):
        found = path.stat()
        if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o600)
            _log.warning("%s could be read by others; it can no longer", path)
