"""Which requests a server takes, by the name it is called by and the page that they come from.

A web page may have its own name lead to this machine (DNS rebinding). What it then asks of this
server the browser thinks to be the page's own, and shows it to the page; only the `Host` field
still tells by which name the server was called. And any page may post to any server, though it is
not shown the answer; its `Origin` tells where it comes from. Programs that are no browsers send
what they like, and are not what this is about.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from salver.transport.authority import Address, address_of, host_and_port
from salver.transport.heads import Refusal, RequestHead
from salver.transport.messages import HttpRequest

__all__ = ["HostRules", "is_of_foreign_page"]

_ANY: Final = "*"
_SUBDOMAINS: Final = "*."
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))  # RFC 9110 §9.2.1
_DEFAULT_PORTS: Final = {b"http": "80", b"https": "443"}
_LONGEST_SHOWN: Final = 100  # of what a client has sent


class HostRules:
    """Admits heads or refuses them; see `HeadCache`. What it says of one head may be remembered."""

    def __init__(
        self,
        allowed: Iterable[str],
        *,
        own_names: Iterable[str] = (),
        is_own_address: Callable[[Address], bool] = lambda _address: False,
        takes_foreign_pages: bool = False,
    ) -> None:
        """Make the rules.

        Args:
            allowed: hosts that somebody has named for this server: names in lower case, `*.name`
                for all names below it, addresses, `*` for everything.
            own_names: of this machine, beside those of the loopback interface.
            is_own_address: whether an address, other than of the loopback interface, leads here.
            takes_foreign_pages: whether pages of other origins may post.
        """
        patterns = frozenset(allowed)
        self._takes_any = _ANY in patterns
        self._named = patterns - {_ANY}
        self._suffixes = tuple(each[1:] for each in patterns if each.startswith(_SUBDOMAINS))
        self._own_names = frozenset(own_names)
        self._is_own_address = is_own_address
        self._takes_foreign_pages = takes_foreign_pages

    def __call__(self, head: RequestHead) -> None:
        """Admit a request.

        Raises:
            Refusal: 403.
        """
        self._check_host(head)
        if head.method not in _SAFE and not self._takes_foreign_pages:
            self._check_origins(head)

    def _check_host(self, head: RequestHead) -> None:
        if self._takes_any or (head.is_http10 and not head.authority):
            return
        found = host_and_port(head.authority)
        host = "" if found is None else found[0]
        if host and (self._is_named(host) or self._is_own(host)):
            return
        shown = host[:_LONGEST_SHOWN]
        raise Refusal(
            403,
            f'Forbidden: this server is not known by the name "{shown}"',
            "If it is meant to be reached by that name, start it with "
            f"--allowed_hosts={shown or 'NAME'}, or with --allowed_hosts=* for any name.",
        )

    def _check_origins(self, head: RequestHead) -> None:
        origins = _values(head, b"origin")
        if not origins or _values(head, b"sec-fetch-site") == [b"same-origin"]:
            return  # no page; or its own, as the browser says, behind a proxy that changes names
        for origin in origins:
            if not self._is_own_page(origin, head.authority):
                shown = origin.decode("latin-1")[:_LONGEST_SHOWN]
                raise Refusal(
                    403,
                    f'Forbidden: a page of "{shown}" may not send requests to this server',
                    "Pages of other origins may with --rest_api_enable_cors_support. If the page "
                    "is this server's own, behind a proxy, name the proxy: --allowed_hosts=NAME.",
                )

    def _is_own_page(self, origin: bytes, authority: bytes) -> bool:
        scheme, _, page_authority = origin.lower().partition(b"://")
        page, own = host_and_port(page_authority), host_and_port(authority)
        default_port = _DEFAULT_PORTS.get(scheme)
        if page is None or own is None or default_port is None or not page[0]:
            return False
        if page[0] == own[0] and (page[1] or default_port) == (own[1] or default_port):
            return True
        # Other ports of this machine are other servers, whatever its names are.
        return self._is_named(page[0]) and not _is_loopback(page[0])

    def _is_named(self, host: str) -> bool:
        if host in self._named or host.endswith(self._suffixes):
            return True
        address = address_of(host)
        return address is not None and str(address) in self._named

    def _is_own(self, host: str) -> bool:
        if host in self._own_names or _is_loopback(host):
            return True
        address = address_of(host)
        return address is not None and self._is_own_address(address)


def is_of_foreign_page(request: HttpRequest) -> bool:
    """Whether a web page of another origin sends a request, wherever the server's rules may be."""
    origin = request.header(b"origin")
    if origin is None or request.header(b"sec-fetch-site") == b"same-origin":
        return False
    return not HostRules(())._is_own_page(origin, request.header(b"host") or b"")


def _is_loopback(host: str) -> bool:
    address = address_of(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")  # RFC 6761 §6.3


def _values(head: RequestHead, name: bytes) -> Sequence[bytes]:
    return [value for each, value in head.headers.pairs if each.lower() == name]
