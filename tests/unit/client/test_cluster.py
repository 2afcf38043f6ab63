from typing import Any

import httpx
import pytest

from salver.client.address import Address, parse_address
from salver.client.cluster import (
    AsyncClusterTransport,
    ClusterTransport,
    Routes,
    map_address,
)
from salver.client.exchange import Exchange, Reply
from salver.errors import DeadlineExceeded, Unavailable
from salver.peers.map import Peer, PeerMap, Placed, text

GIVEN = parse_address("http://given:8501")
MAP = PeerMap(
    1,
    {
        "n1": Peer("n1", "one:1", "one:2"),
        "n2": Peer("n2", grpc="two:2"),
        "n3": Peer("n3", "three:1"),
    },
    {"m": Placed(("n1",)), "both": Placed(("n1", "n3")), "grpc": Placed(("n2",))},
)
ASK = Exchange("/v1/models/m:predict", b"{}", lambda reply: reply)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Net:
    """All servers: what was sent to whom, and who is away."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.away: set[str] = set()
        self.why: Exception | None = None
        self.map: bytes = text(MAP).encode()
        self.headers: dict[str, str] = {}
        self.closed: list[str] = []
        self.timeouts: list[float | None] = []

    def to(self, address: Address) -> "One":
        return One(self, address.target)

    def later(self, address: Address) -> "OneLater":
        return OneLater(self, address.target)

    @property
    def asked(self) -> list[str]:
        return [target for target, path in self.sent if path != "/cluster/v1/map"]

    @property
    def fetches(self) -> int:
        return len(self.sent) - len(self.asked)


class One:
    def __init__(self, net: Net, target: str) -> None:
        self.net, self.target = net, target

    def send(self, exchange: Exchange[Any], _timeout_s: float | None) -> Reply:
        self.net.sent.append((self.target, exchange.path))
        if self.target in self.net.away:
            raise Unavailable("away") from self.net.why
        if exchange.path == "/cluster/v1/map":
            return Reply(self.net.map, 200 if self.net.map else 404)
        return Reply(b"", 200, self.net.headers)

    def close(self) -> None:
        self.net.closed.append(self.target)


class OneLater:
    def __init__(self, net: Net, target: str) -> None:
        self.one = One(net, target)

    async def send(self, exchange: Exchange[Any], timeout_s: float | None) -> Reply:
        return self.one.send(exchange, timeout_s)

    async def close(self) -> None:
        self.one.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def net() -> Net:
    return Net()


def cluster(net: Net, clock: Clock, address: Address = GIVEN) -> ClusterTransport:
    routes = Routes(address, clock=clock, pick=lambda _count: 0)
    return ClusterTransport(address, net.to, net.to, routes)


def test_the_server_that_has_the_model_is_asked(net: Net, clock: Clock) -> None:
    client = cluster(net, clock)
    for model in ("m", "both", "unknown", "", "grpc"):
        client.send(ASK, 1.0, model)
    given = "http://given:8501"
    assert net.asked == ["http://one:1", "http://one:1", given, given, given]
    assert net.fetches == 1


def test_a_server_that_cannot_be_reached_is_passed_over_for_a_while(net: Net, clock: Clock) -> None:
    client = cluster(net, clock)
    net.away.add("http://one:1")
    with pytest.raises(Unavailable):
        client.send(ASK, 1.0, "both")
    client.send(ASK, 1.0, "both")
    client.send(ASK, 1.0, "m")
    assert net.asked == ["http://one:1", "http://three:1", "http://given:8501"]
    net.away.clear()
    clock.now_s += 1.0
    client.send(ASK, 1.0, "m")
    assert net.asked[-1] == "http://one:1"


def test_what_was_not_sent_goes_to_the_given_server_at_once(net: Net, clock: Clock) -> None:
    client = cluster(net, clock)
    net.away.add("http://one:1")
    net.why = httpx.ConnectError("refused")
    client.send(ASK, 1.0, "m")
    assert net.asked == ["http://one:1", "http://given:8501"]


def test_what_was_not_sent_goes_first_to_another_server_that_has_the_model(
    net: Net, clock: Clock
) -> None:
    client = cluster(net, clock)
    client.send(ASK, 1.0, "both")  # the map is known
    net.away |= {"http://one:1", "http://given:8501"}
    net.why = httpx.ConnectError("refused")
    client.send(ASK, 1.0, "both")
    assert net.asked[1:] == ["http://one:1", "http://three:1"]
    net.away.add("http://three:1")
    clock.now_s += 5.0
    with pytest.raises(Unavailable):
        client.send(ASK, 1.0, "both")
    assert net.asked[3:] == ["http://one:1", "http://three:1", "http://given:8501"]


async def test_a_loop_asks_another_server_that_has_the_model_too(net: Net, clock: Clock) -> None:
    routes = Routes(GIVEN, clock=clock, pick=lambda _count: 0)
    client = AsyncClusterTransport(GIVEN, net.later, net.later, routes)
    net.away.add("http://one:1")
    net.why = httpx.ConnectError("refused")
    await client.send(ASK, 1.0, "both")
    assert net.asked == ["http://one:1", "http://three:1"]


class Timed(One):
    """A machine that is off: to connect takes a second."""

    def __init__(self, net: Net, address: Address, clock: Clock) -> None:
        super().__init__(net, address.target)
        self.clock, self.connect_s = clock, address.connect_s

    def send(self, exchange: Exchange[Any], timeout_s: float | None) -> Reply:
        self.net.timeouts.append(timeout_s)
        if self.target not in self.net.away:
            return super().send(exchange, timeout_s)
        assert self.connect_s is not None
        self.clock.now_s += self.connect_s
        self.net.sent.append((self.target, exchange.path))
        raise DeadlineExceeded("No answer") from self.net.why


def test_a_machine_that_is_off_is_passed_over(net: Net, clock: Clock) -> None:
    routes = Routes(GIVEN, clock=clock, pick=lambda _count: 0)
    client = ClusterTransport(GIVEN, lambda where: Timed(net, where, clock), net.to, routes)
    net.away.add("http://one:1")
    net.why = httpx.ConnectTimeout("off")
    client.send(ASK, 5.0, "m")
    assert net.asked == ["http://one:1", "http://given:8501"]
    assert net.timeouts == [5.0, 4.0]
    client.send(ASK, 5.0, "both")
    assert net.asked[-1] == "http://three:1"
    clock.now_s += 5.0
    with pytest.raises(DeadlineExceeded):
        client.send(ASK, 1.0, "m")
    assert net.asked[-1] == "http://one:1"
    clock.now_s += 5.0
    client.send(ASK, None, "m")
    assert net.timeouts[-2:] == [None, None]


def test_a_server_that_answers_slowly_is_not_passed_over(net: Net, clock: Clock) -> None:
    routes = Routes(GIVEN, clock=clock, pick=lambda _count: 0)
    client = ClusterTransport(GIVEN, lambda where: Timed(net, where, clock), net.to, routes)
    net.away.add("http://one:1")
    net.why = httpx.ReadTimeout("slow")
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            client.send(ASK, 5.0, "m")
    assert net.asked == ["http://one:1"] * 2


async def test_a_loop_passes_over_a_machine_that_is_off_too(net: Net, clock: Clock) -> None:
    class Later(OneLater):
        def __init__(self, where: Address) -> None:
            self.one = Timed(net, where, clock)

    routes = Routes(GIVEN, clock=clock, pick=lambda _count: 0)
    client = AsyncClusterTransport(GIVEN, Later, net.later, routes)
    net.away.add("http://one:1")
    net.why = httpx.ConnectTimeout("off")
    await client.send(ASK, 5.0, "m")
    assert net.asked == ["http://one:1", "http://given:8501"]
    assert net.timeouts == [5.0, 4.0]


def test_the_map_is_fetched_again_when_it_is_old_or_was_wrong(net: Net, clock: Clock) -> None:
    client = cluster(net, clock)
    client.send(ASK, 1.0, "m")
    clock.now_s = 29.0
    client.send(ASK, 1.0, "m")
    assert net.fetches == 1
    clock.now_s = 30.0
    client.send(ASK, 1.0, "m")
    assert net.fetches == 2
    net.headers = {"salver-forwarded-to": "n3"}
    client.send(ASK, 1.0, "m")
    clock.now_s = 31.0
    client.send(ASK, 1.0, "m")
    assert net.fetches == 3


@pytest.mark.parametrize("map", [b"", b"garbage", b'{"schema": 9}'])
def test_without_a_map_the_given_server_is_asked_and_it_is_tried_again(
    net: Net, clock: Clock, map: bytes
) -> None:
    client = cluster(net, clock)
    net.map = map
    for _ in range(3):
        client.send(ASK, 1.0, "m")
    assert (net.asked, net.fetches) == (["http://given:8501"] * 3, 1)
    net.map = text(MAP).encode()
    clock.now_s = 5.0
    client.send(ASK, 1.0, "m")
    assert net.asked[-1] == "http://one:1"


def test_a_map_that_cannot_be_had_again_stays(net: Net, clock: Clock) -> None:
    client = cluster(net, clock)
    client.send(ASK, 1.0, "m")
    net.away.add("http://given:8501")
    clock.now_s = 60.0
    client.send(ASK, 1.0, "m")
    assert net.asked == ["http://one:1"] * 2


def test_a_client_of_grpc_asks_at_the_other_address(net: Net, clock: Clock) -> None:
    client = cluster(net, clock, parse_address("grpc://given:8500"))
    client.send(ASK, 1.0, "grpc")
    client.send(ASK, 1.0, "both")
    assert net.asked == ["two:2", "one:2"]
    assert net.sent[0] == ("http://given:8500", "/cluster/v1/map")


def test_what_is_secure_stays_so() -> None:
    routes = Routes(parse_address("https://given:8501"), pick=lambda _count: 0)
    routes.fetched(Reply(text(MAP).encode(), 200))
    found = routes.address_of("m")
    assert found == Address(is_grpc=False, is_secure=True, target="https://one:1")
    assert map_address(parse_address("unix:/run/salver.sock")) is None


def test_all_connections_are_closed(net: Net, clock: Clock) -> None:
    client = cluster(net, clock)
    client.send(ASK, 1.0, "m")
    client.close()
    assert sorted(net.closed) == ["http://given:8501", "http://given:8501", "http://one:1"]


def moved(net: Net, clock: Clock, place: int) -> None:
    """The model is on a new machine."""
    net.map = text(
        PeerMap(place + 2, {"n": Peer("n", f"h{place}:1")}, {"m": Placed(("n",))})
    ).encode()
    clock.now_s += 60.0


def test_connections_to_servers_of_long_ago_are_closed(net: Net, clock: Clock) -> None:
    client = cluster(net, clock)
    for place in range(70):
        moved(net, clock, place)
        client.send(ASK, 1.0, "m")
    assert net.closed == [f"http://h{place}:1" for place in range(6)]
    client.close()
    assert len(net.closed) == 72


async def test_a_loop_closes_connections_of_long_ago_too(net: Net, clock: Clock) -> None:
    client = AsyncClusterTransport(GIVEN, net.later, net.later, Routes(GIVEN, clock=clock))
    for place in range(70):
        moved(net, clock, place)
        await client.send(ASK, 1.0, "m")
    assert net.closed == [f"http://h{place}:1" for place in range(6)]
    await client.close()
    assert len(net.closed) == 72


async def test_the_same_holds_for_who_does_not_wait(net: Net, clock: Clock) -> None:
    routes = Routes(GIVEN, clock=clock, pick=lambda _count: 0)
    client = AsyncClusterTransport(GIVEN, net.later, net.later, routes)
    await client.send(ASK, 1.0, "m")
    net.away.add("http://one:1")
    with pytest.raises(Unavailable):
        await client.send(ASK, 1.0, "m")
    await client.send(ASK, 1.0, "m")
    assert net.asked == ["http://one:1", "http://one:1", "http://given:8501"]
    await client.close()
    assert len(net.closed) == 3
