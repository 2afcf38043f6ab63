"""When a store that has too much to do wants to be asked again.

The library that sends our requests tells the status of an answer and not its headers. So the same
URL is asked once more, without credentials: what turns requests away mostly stands before what
looks at them.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["MOST_S", "ask_when", "seconds_of"]

MOST_S: Final = 300.0
"""No store keeps us away for longer at a time."""

_TIMEOUT_S: Final = 5.0


def ask_when(url: str, client: Mapping[str, Any]) -> float:
    """How long to wait, in seconds; 0 where the store does not say.

    Args:
        url: of the request that was turned away.
        client: options of the connection: `proxy_url`, `root_certificate`.
    """
    if not url.startswith(("http://", "https://")):
        return 0.0
    import httpx  # here: only for a store that has too much to do

    from salver.remote.deadlines import obey_deadlines, within

    verify: Any = not client.get("allow_invalid_certificates")
    if client.get("root_certificate"):
        import ssl

        verify = ssl.create_default_context()
        verify.load_verify_locations(cadata=client["root_certificate"].decode())
    try:
        with (
            within(_TIMEOUT_S),
            httpx.Client(timeout=_TIMEOUT_S, verify=verify, proxy=client.get("proxy_url")) as http,
        ):
            answer = obey_deadlines(http).head(url)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError):
        return 0.0
    if answer.status_code not in (429, 503):
        return 0.0
    return seconds_of(answer.headers.get("retry-after", ""))


def seconds_of(header: str, now_s: float | None = None) -> float:
    """What a `Retry-After` says, in seconds from now; 0 where it says nothing, bounded."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MOST_S)
    from email.utils import parsedate_to_datetime  # here: as httpx above

    try:
        at_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    now_s = time.time() if now_s is None else now_s  # noqa: TID251 - of the store's calendar
    return min(max(0.0, at_s - now_s), MOST_S)
