"""What stands before stores in tests: TLS of an authority of ours, and proxies that tunnel."""

import base64
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import trustme

__all__ = ["Tunnels", "tls_before", "tunnelling"]

_CHUNK_BYTES = 1 << 16
_MOST_HEAD_BYTES = 1 << 14


@dataclass
class Tunnels:
    """A proxy that answers `CONNECT`, and what it was asked for.

    Attributes:
        hosts: name → port on this machine; only the proxy knows where these are.
        login: `user:password` that it wants; empty for anybody.
        port: where it listens.
        asked: the targets so far, as `store.test:443`.
        refused: how many requests were without the login, or were no `CONNECT`.
    """

    hosts: dict[str, int] = field(default_factory=dict)
    login: str = ""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    refused: int = 0

    def url(self, login: str = "") -> str:
        """Its address, for somebody who logs in so."""
        return f"http://{login and f'{login}@'}127.0.0.1:{self.port}"

    def target(self, head: str) -> tuple[str, int] | None:
        """Where a request may go; None where it may not."""
        line, *fields = head.split("\r\n")
        method, _, rest = line.partition(" ")
        token = base64.b64encode(self.login.encode()).decode()
        sent = [each.partition(":")[2] for each in fields if each.lower().startswith("proxy-auth")]
        if method != "CONNECT" or (self.login and sent != [f" Basic {token}"]):
            self.refused += 1
            return None
        name = rest.split(" ")[0]
        self.asked.append(name)
        host, _, port = name.rpartition(":")
        return "127.0.0.1", self.hosts.get(host, int(port))


@contextmanager
def tunnelling(tunnels: Tunnels) -> Iterator[Tunnels]:
    """The proxy, on a free port of the loopback."""

    def serve(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD_BYTES:
            if not (more := client.recv(_CHUNK_BYTES)):
                return
            head += more
        target = tunnels.target(head.decode("latin-1"))
        if target is None:
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="tests"\r\nContent-Length: 0\r\n\r\n'
            )
            return
        with socket.create_connection(target) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _pump(client, server)

    with _listening(serve) as tunnels.port:
        yield tunnels


@contextmanager
def tls_before(port: int, authority: trustme.CA, *names: str) -> Iterator[int]:
    """The port of what speaks TLS under these names, and passes all on to a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)

    def serve(client: socket.socket) -> None:
        with (
            context.wrap_socket(client, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            _pump(secured, server)

    with _listening(serve) as own:
        yield own


@contextmanager
def _listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port on which each connection is served in a thread; all end with the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    opened: list[socket.socket] = []

    def work(client: socket.socket) -> None:
        with suppress(OSError), client:
            serve(client)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            opened.append(client)
            threads.append(threading.Thread(target=work, args=(client,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for each in opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either says until one of them ends."""
    while True:
        ready = [
            each for each in (one, other) if isinstance(each, ssl.SSLSocket) and each.pending()
        ]
        for each in ready or select.select([one, other], [], [])[0]:
            content = each.recv(_CHUNK_BYTES)
            if not content:
                return
            (other if each is one else one).sendall(content)
