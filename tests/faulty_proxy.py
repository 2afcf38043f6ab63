"""A TCP proxy for tests that cuts, resets, holds or answers in place of a server."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Proxy", "proxy_to"]

_CHUNK_BYTES = 1 << 14


@dataclass
class Proxy:
    """What it does; may be changed at any time.

    Attributes:
        port: where it listens.
        cut_after: so many bytes of an answer pass on a connection; None for all.
        cuts: so often that happens, from then on not.
        is_reset: whether a cut is a reset and no end.
        canned: what is answered in place of the server, once each.
        is_away: whether connections are closed as soon as they come.
        held: closed gates hold answers back.
        away_after: when so many bytes of answers have passed, `is_away` begins.
        hold_after: likewise, `held` closes; once.
        passed_bytes: of answers so far.
        connections: so far.
    """

    port: int = 0
    cut_after: int | None = None
    cuts: int = 1 << 30
    is_reset: bool = False
    canned: list[bytes] = field(default_factory=list)
    is_away: bool = False
    held: threading.Event = field(default_factory=threading.Event)
    away_after: int | None = None
    hold_after: int | None = None
    passed_bytes: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.held.set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def has_passed(self, count: int) -> None:
        """Count bytes of answers."""
        with self.lock:
            self.passed_bytes += count
            if self.away_after is not None and self.passed_bytes > self.away_after:
                self.away_after, self.is_away = None, True
            if self.hold_after is not None and self.passed_bytes > self.hold_after:
                self.hold_after = None
                self.held.clear()

    def takes_cut(self) -> bool:
        """Whether this answer is to be cut."""
        with self.lock:
            if self.cut_after is None or self.cuts <= 0:
                return False
            self.cuts -= 1
            return True


@contextmanager
def proxy_to(url: str) -> Iterator[Proxy]:
    """A proxy in front of a server."""
    target = ("127.0.0.1", int(url.rpartition(":")[2]))
    proxy = Proxy()
    listener = socket.create_server(("127.0.0.1", 0))
    proxy.port = listener.getsockname()[1]
    threads: list[threading.Thread] = []
    opened: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            proxy.connections += 1
            opened.append(client)
            if proxy.is_away:
                _reset(client)
                continue
            thread = threading.Thread(target=_serve, args=(proxy, client, target, opened))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield proxy
    finally:
        proxy.held.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for each in opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in threads:
            thread.join()


def _serve(
    proxy: Proxy, client: socket.socket, target: tuple[str, int], opened: list[socket.socket]
) -> None:
    with suppress(OSError):
        server = socket.create_connection(target)
        opened.append(server)
        answering = threading.Thread(target=_pump_answers, args=(proxy, server, client))
        answering.start()
        with suppress(OSError):
            while request := client.recv(_CHUNK_BYTES):
                if proxy.is_away:
                    _reset(client)
                    break
                with proxy.lock:
                    canned = proxy.canned.pop(0) if proxy.canned else b""
                if canned:
                    client.sendall(canned)
                    if b"Connection: close" in canned:
                        break
                else:
                    server.sendall(request)
        for each in (server, client):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        answering.join()
        server.close()
        client.close()


def _pump_answers(proxy: Proxy, server: socket.socket, client: socket.socket) -> None:
    passed = 0
    with suppress(OSError):
        while content := server.recv(_CHUNK_BYTES):
            proxy.held.wait()
            passed += len(content)
            if proxy.cut_after is not None and passed > proxy.cut_after and proxy.takes_cut():
                client.sendall(content[: max(0, len(content) - (passed - proxy.cut_after))])
                if proxy.is_reset:
                    _reset(client)
                break
            client.sendall(content)
            proxy.has_passed(len(content))
            if proxy.is_away:
                _reset(client)
                break
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _reset(client: socket.socket) -> None:
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.shutdown(socket.SHUT_RD)  # ends the wait of the thread that reads requests
        client.close()
