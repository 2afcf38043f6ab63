import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.peers.test_forwarder import Here

from salver.config.peers import PeerConfig
from salver.peers.assembling import Peers
from salver.peers.hops import TOKEN
from salver.peers.map import PeerMap, text

SECRET = b"a-secret-of-16-bytes"


async def test_files_that_are_read_anew_count_from_a_turn_of_the_loop_on(tmp_path: Path) -> None:
    """What the loop is in the midst of is not changed below it."""
    map_file, token_file = tmp_path / "map.json", tmp_path / "token"
    map_file.write_text(text(PeerMap(1)))
    token_file.write_bytes(SECRET)
    config = PeerConfig(str(map_file), "n1", str(token_file))
    peers = Peers(config, Here(), in_pool=at_once)

    def in_force() -> tuple[int, bytes]:
        return peers.forwarder.map.generation, dict(peers._hops.fields(None))[TOKEN]

    try:
        assert in_force() == (1, SECRET)  # at once, where the loop has not begun to serve
        map_file.write_text(text(PeerMap(10)))
        token_file.write_bytes(SECRET + b"2")
        reading = threading.Thread(target=peers._files._poll)
        reading.start()
        reading.join()
        assert in_force() == (1, SECRET)
        await asyncio.sleep(0)
        assert in_force() == (10, SECRET + b"2")
    finally:
        peers.start()
        await peers.close()


async def at_once(work: Callable[[], Any], _size: int = 0) -> Any:
    return work()
