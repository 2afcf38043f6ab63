"""The reference stream of `soak.py`: one client in a process of its own, at a fixed rate.

    python soak_probe.py PORT RATE

asks half_plus_two over REST and prints a line per answer: when it was due (`time.monotonic`), how
many seconds after that it came, and whether it was right. An answer that is late delays the next
question, and that delay counts too. Ends when its standard input is closed.
"""

import json
import select
import socket
import sys
import time

BODY = b'{"instances": [1.0, 2.0, 5.0]}'
REQUEST = (
    b"POST /v1/models/steady:predict HTTP/1.1\r\nHost: soak\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)
RIGHT = {"predictions": [2.5, 3.0, 4.5]}


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ask(client: socket.socket) -> bytes:
    """The body of the answer; of any but 200 the head."""
    client.sendall(REQUEST)
    got = b""
    while (cut := got.find(b"\r\n\r\n")) < 0 or len(got) < cut + 4 + length_of(got[:cut]):
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        got += piece
    return got[cut + 4 :] if got.startswith(b"HTTP/1.1 200") else got[:cut]


def length_of(head: bytes) -> int:
    (line,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(line.split(b":")[1])


def main(port: int, rate: float) -> None:
    client = connect(port)
    due_s = time.monotonic()
    while True:
        due_s += 1 / rate
        wait_s = max(0.0, due_s - time.monotonic())
        if select.select([sys.stdin], [], [], wait_s)[0]:
            return
        try:
            is_right = json.loads(ask(client)) == RIGHT
        except (OSError, ValueError) as error:
            print(f"# {error!r}", flush=True)
            is_right = False
            client.close()
            client = connect(port)
        print(f"{due_s:.6f} {time.monotonic() - due_s:.6f} {int(is_right)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
