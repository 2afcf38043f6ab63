"""The Ray that `salver cluster up` starts by itself."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from salver.cluster.on_ray.head import find_head, stop_head
from tests.integration.clusters import needs_ray
from tests.integration.serving import eventually

_LISTENS = "0A"  # TCP_LISTEN
_START = """
import os, sys, threading
from pathlib import Path
from salver.cluster.on_ray.head import start_head
start_head(Path(sys.argv[1]), os.environ, threading.Event().wait)
"""


def tree(root: int) -> set[int]:
    """A process and all that it and those have started."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(place.name)] = int(
                (place / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def address_of(text: str) -> IPv4Address | IPv6Address:
    """An address as `/proc/net/tcp` has it: words of four bytes, each in the machine's order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    found = ip_address(struct.pack(f"={len(words)}I", *words))
    return getattr(found, "ipv4_mapped", None) or found


def listening(pids: Collection[int]) -> Iterator[tuple[str, IPv4Address | IPv6Address]]:
    """Programs of these processes, and the addresses at which they listen."""
    listeners: dict[str, IPv4Address | IPv6Address] = {}
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS:
                listeners[f"socket:[{fields[9]}]"] = address_of(fields[1].partition(":")[0])
    for pid in pids:
        with suppress(OSError):
            program = Path(f"/proc/{pid}/comm").read_text().strip()
            for each in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if (address := listeners.get(os.readlink(each))) is not None:
                        yield program, address


def test_addresses_are_read_as_the_system_writes_them() -> None:
    with socket.create_server(("127.0.0.2", 0)):
        assert ip_address("127.0.0.2") in {address for _, address in listening([os.getpid()])}
    words = struct.unpack("=4I", ip_address("::ffff:127.0.0.3").packed)
    assert address_of("".join(f"{word:08X}" for word in words)) == ip_address("127.0.0.3")


@needs_ray
def test_nothing_of_it_listens_to_other_machines(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    environment = {**os.environ, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    subprocess.run([sys.executable, "-c", _START, directory], env=environment, check=True)
    head = find_head(directory)
    assert head is not None
    try:

        def all_there() -> list[tuple[str, IPv4Address | IPv6Address]] | None:
            found = list(listening(tree(head.process.pid)))
            return found if {"gcs_server", "raylet"} <= {name for name, _ in found} else None

        found = eventually("its processes listen", all_there)
        assert [each for each in found if not each[1].is_loopback] == []
    finally:
        stop_head(directory)
