"""The load of `swaps.py`: requests at a fixed rate over some connections, in a process of its own.

    python benchmarks/swaps_load.py PORT RATE CONNECTIONS [KEY]

asks half_plus_two over REST, evenly, until its standard input is closed, and then writes what it
saw: per request three doubles, when it was due (`time.monotonic`), how many seconds after that its
answer came, and 1 where that was right. A request for which no connection is free waits, and that
counts too. So does what this process itself is late: on few cores it is a part of the experiment.
It asks for short slices of the processor, as the server does, so that it is late for what is before
it and not for its turn.
"""

import select
import socket
import sys
import time
from array import array
from collections import deque

from salver.instruments.threads import take_short_slices

BODY = b'{"instances": [1.0, 2.0, 5.0]}'
HEAD = b"POST /v1/models/half:predict HTTP/1.1\r\nHost: swaps\r\nContent-Length: %d\r\n" % len(BODY)
RIGHT = b"[2.5,3.0,4.5]"
MOST_BYTES = 65536


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


class Load:
    """Connections, each with at most one request under way.

    A connection with an answer that is not the right one counts as failed and is made anew.
    """

    def __init__(self, port: int, rate: float, connections: int, key: str = "") -> None:
        header = f"x-api-key: {key}\r\n" if key else ""
        self._request = b"%b%b\r\n%b" % (HEAD, header.encode(), BODY)
        self._port = port
        self._every_s = 1 / rate
        self._free = deque(connect(port) for _ in range(connections))
        self._asked: dict[socket.socket, float] = {}
        self.seen = array("d")

    def run(self) -> None:
        """Ask until standard input is closed, then wait for the last answers."""
        now = time.monotonic
        due_s = now()
        is_over = False
        while not is_over or self._asked:
            while not is_over and due_s <= now() and self._free:
                self._ask(self._free.popleft(), due_s)
                due_s += self._every_s
            wait_s = max(0.0, due_s - now()) if self._free and not is_over else 1.0
            watched = [*self._asked] if is_over else [sys.stdin, *self._asked]
            for ready in select.select(watched, (), (), wait_s)[0]:
                if ready is sys.stdin:
                    is_over = True
                else:
                    self._answered(ready)

    def _ask(self, client: socket.socket, due_s: float) -> None:
        self._asked[client] = due_s
        client.send(self._request)

    def _answered(self, client: socket.socket) -> None:
        try:
            answer = client.recv(MOST_BYTES)
        except OSError:
            answer = b""
        due_s = self._asked.pop(client)
        is_right = answer.startswith(b"HTTP/1.1 200") and RIGHT in answer
        self.seen.extend((due_s, time.monotonic() - due_s, is_right))
        if not is_right:
            client.close()
            client = connect(self._port)
        self._free.append(client)


def main(port: int, rate: float, connections: int, key: str = "") -> None:
    take_short_slices()
    load = Load(port, rate, connections, key)
    load.run()
    sys.stdout.buffer.write(load.seen.tobytes())


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5])
