"""Servers for tests that answer a drop at a time, without end."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["HEADERS", "dripping"]

HEADERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"
    b'ETag: "a"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n'
)


@contextmanager
def dripping(before: bytes, drip: bytes) -> Iterator[str]:
    """A server that sends something at once, and then a drop again and again."""
    listener, is_over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.recv(1 << 16)
                    connection.sendall(before)
                    while not is_over.wait(0.02):
                        connection.sendall(drip)
                except OSError:  # the client has gone
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        is_over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()
        listener.close()
