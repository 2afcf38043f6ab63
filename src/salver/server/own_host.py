"""By which names and addresses this machine is called, and what that makes of `--allowed_hosts`."""

import socket
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from salver.config.hosts import read_allowed_hosts
from salver.config.options import ServerOptions
from salver.transport.authority import Address, address_of
from salver.transport.host_rules import HostRules

__all__ = ["host_rules_of", "is_own_address", "own_names"]

_HOSTS: Final = Path("/etc/hosts")


def host_rules_of(options: ServerOptions) -> HostRules | None:
    """The rules that the flags mean; None for none: every request is taken."""
    allowed = read_allowed_hosts(options.allowed_hosts)
    if not allowed:
        return None
    host = options.host.lower()
    address = address_of(host)
    is_local = host == "localhost" or (address is not None and address.is_loopback)
    is_local = is_local and not options.is_reached_from_outside
    return HostRules(
        allowed,
        own_names={*own_names(), host} - {""},
        # A name may be made to lead elsewhere, an address may not. Who listens on more than the
        # loopback interface may be reached by addresses that it cannot know: of its container's
        # host, of what forwards a port.
        is_own_address=is_own_address if is_local else lambda _address: True,
        takes_foreign_pages=options.rest_api_enable_cors_support,
    )


def own_names(hosts_file: Path = _HOSTS) -> frozenset[str]:
    """The names that this machine has for itself; no name server is asked for more.

    What a name server says of this machine's name is no better than the network it is in.

    Args:
        hosts_file: gives names beside those the system is set to.
    """
    name = socket.gethostname().lower().rstrip(".")
    short = name.partition(".")[0]
    names = {name, short, f"{short}.local"}
    try:
        lines = hosts_file.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    except OSError:
        lines = []
    for line in lines:
        beside = line.partition("#")[0].split()[1:]
        if name in beside or short in beside:
            names.update(beside)
    return frozenset(names - {""})


def is_own_address(address: Address) -> bool:
    """Whether an address is one of this machine's now."""
    if address.is_unspecified or address.is_multicast:
        return False
    if isinstance(address, IPv6Address):
        scopes = [0]
        if address.is_link_local:
            scopes = [number for number, _ in socket.if_nameindex()]
        return any(_can_bind(socket.AF_INET6, (str(address), 0, 0, scope)) for scope in scopes)
    return _can_bind(socket.AF_INET, (str(address), 0))


def _can_bind(family: int, address: tuple[str | int, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
