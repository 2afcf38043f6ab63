"""The command that installs an optional part of Salver, such that it works where it is read.

How a package came to be installed stands beside it, in `direct_url.json`. Only what came from a
package index can be named `salver[tensorflow]`; a clone or a wheel is named by its path.

Source: https://packaging.python.org/en/latest/specifications/direct-url/
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from importlib.metadata import Distribution

__all__ = ["Origin", "command_for", "install_command", "origin_of"]

_NAME: Final = "salver"
_OF_EXTRA: Final = re.compile(r"""(?P<requirement>[^;]+);.*\bextra == ['"](?P<extra>[^'"]+)['"]""")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where this package was installed from.

    Attributes:
        path: a clone or a wheel on this machine; None for neither.
        url: elsewhere, such as `git+https://host/repository@commit`; empty for a package index.
        is_editable: whether the clone itself is what is imported.
        requirements: as the metadata of the package writes them.
    """

    path: Path | None = None
    url: str = ""
    is_editable: bool = False
    requirements: Sequence[str] = field(default=())


def install_command(extra: str) -> str:
    """What to type to install an extra of `pyproject.toml`, such as `tensorflow` or `litert`.

    `pip install '.[tensorflow]'` in a clone, `pip install 'salver[tensorflow]'` where the package
    came from an index. Takes milliseconds: for error texts.
    """
    from importlib import metadata  # here: 11 ms that a start need not wait for

    origin = origin_of(next(iter(metadata.distributions(name=_NAME)), None))
    return command_for(extra, origin, pip=_pip())


def origin_of(distribution: "Distribution | None") -> Origin:
    """Read where a distribution came from; None is one that was never installed."""
    if distribution is None:
        clone = Path(__file__).parents[3]
        return Origin(path=clone if (clone / "pyproject.toml").is_file() else None)
    requirements = tuple(distribution.requires or ())
    try:
        said = json.loads(distribution.read_text("direct_url.json") or "{}")
        url = str(said.get("url", ""))
        scheme, _, path, _, _ = urlsplit(url)
    except (ValueError, AttributeError):
        return Origin(requirements=requirements)
    if scheme == "file":
        is_editable = bool(said.get("dir_info", {}).get("editable"))
        return Origin(Path(unquote(path)), "", is_editable, requirements)
    return Origin(None, _versioned(url, said.get("vcs_info")), requirements=requirements)


def _versioned(url: str, vcs: Any) -> str:
    return f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url


def command_for(extra: str, origin: Origin, *, pip: str, here: Path | None = None) -> str:
    """See `install_command`.

    Args:
        extra: the name of the extra.
        origin: of the package.
        pip: the command of the environment the package is in.
        here: the directory the command will be typed in; None for the current one.
    """
    path = origin.path
    if path is not None and path.exists():
        name = "." if path == (here or Path.cwd()) else str(path)
        option = "-e " if origin.is_editable else ""
        return f"{pip} install {option}{shlex.quote(f'{name}[{extra}]')}"
    if path is not None and (wanted := _requirements(extra, origin.requirements)):
        return f"{pip} install {' '.join(map(shlex.quote, wanted))}"
    at = f" @ {origin.url}" if origin.url else ""
    return f"{pip} install {shlex.quote(f'{_NAME}[{extra}]{at}')}"


def _requirements(extra: str, requirements: Sequence[str]) -> list[str]:
    """What an extra consists of: for a clone that was removed after the installation."""
    found = [_OF_EXTRA.fullmatch(requirement) for requirement in requirements]
    return [match["requirement"].strip() for match in found if match and match["extra"] == extra]


def _pip() -> str:
    """`pip` where the shell would find that of this environment."""
    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    return f"{shlex.quote(sys.executable)} -m pip"
