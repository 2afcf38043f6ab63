"""Servers that do as they are told: by a script of answers, one for each request."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

__all__ = ["CLOSE", "Canned", "Last", "canned", "http"]


class Last(bytes):
    """An answer after which the connection is closed."""


CLOSE = Last(b"")
"""The answer that is none."""


def http(status: int, body: bytes = b"{}", headers: str = "") -> bytes:
    """A whole response."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Canned:
    """Reads requests, and answers each as its path and its number say."""

    def __init__(self, answer: Callable[[str, int], bytes]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="canned")]
        self.asked = threading.Event()
        self.connections = 0
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._threads[0].start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(connection)
            thread = threading.Thread(target=self._converse, args=(connection,), name="canned")
            self._threads.append(thread)
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while line := stream.readline().decode():
                    headers = {}
                    while (header := stream.readline().decode().strip()) != "":
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    body = stream.read(int(headers.get("content-length", 0)))
                    path = line.split()[1]
                    self.requests.append((path, headers, body))
                    self.asked.set()
                    answer = self._answer(path, len(self.requests))
                    connection.sendall(answer)
                    if isinstance(answer, Last):
                        connection.shutdown(socket.SHUT_RDWR)
                        return
        except OSError:  # the client, or the end of the test, has closed it
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._sockets:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@contextmanager
def canned(answer: Callable[[str, int], bytes] | Sequence[bytes]) -> Iterator[Canned]:
    """A server that answers with these, in their order; the last one again and again."""
    if not callable(answer):
        script = list(answer)
        server = Canned(lambda _, number: script[min(number, len(script)) - 1])
    else:
        server = Canned(answer)
    try:
        yield server
    finally:
        server.close()
