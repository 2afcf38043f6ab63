import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidArgument
from salver.peers.map import Peer, PeerMap, Placed, read, text

DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "generation": 12,
    "peers": {
        "n1": {"rest": "127.0.0.2:8501", "grpc": "127.0.0.2:8500", "zone": "a"},
        "n2": {"rest": "[::1]:8501"},
    },
    "models": {"digits": {"nodes": ["n1", "n2"], "versions": [3], "labels": {"stable": 3}}},
}


def test_a_map_says_which_servers_there_are_and_which_models_they_have() -> None:
    found = read(json.dumps(DOCUMENT))
    assert found.generation == 12
    assert found.peers == {
        "n1": Peer("n1", "127.0.0.2:8501", "127.0.0.2:8500", "a"),
        "n2": Peer("n2", "[::1]:8501"),
    }
    assert found.models == {"digits": Placed(("n1", "n2"), (3,), {"stable": 3})}


def test_what_was_written_is_read_again_and_has_a_line_for_each_peer_and_model() -> None:
    found = read(json.dumps(DOCUMENT))
    assert read(text(found)) == found
    assert len(text(found).splitlines()) == 6
    assert read(text(PeerMap())) == PeerMap()


def test_members_that_are_not_known_are_left_alone() -> None:
    more = {**DOCUMENT, "written_by": "a newer server"}
    more["peers"] = {"n1": {**DOCUMENT["peers"]["n1"], "weight": 2}, "n2": {"rest": "h:1"}}
    assert read(json.dumps(more)).generation == 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 2}, "schema is 2; this server knows 1"),
        ({"schema": True}, "schema is True"),
        ({"generation": -1}, "generation: a whole number"),
        ({"generation": 1 << 63}, "generation: a whole number"),
        ({"generation": 1.5}, "generation: a whole number"),
        ({"peers": []}, "peers: an object"),
        ({"peers": {"n1": "127.0.0.2:8501"}}, "the peer 'n1': an object"),
        ({"peers": {"n1": {"rest": 1}}}, "rest of the peer 'n1': a string"),
        ({"peers": {"n1": {}}}, "the peer n1 has neither rest nor grpc"),
        ({"peers": {"n 1\r\n": {"rest": "h:1"}}}, "needs a name of letters"),
        ({"peers": {"": {"rest": "h:1"}}}, "needs a name of letters"),
        ({"models": {"m": {"nodes": "n1"}}}, "nodes of the model 'm': a list"),
        ({"models": {"m": {"nodes": ["n3"]}}}, "the model 'm' is at 'n3', which is no peer"),
        ({"models": {"m": {"nodes": [["n1"]]}}}, "a node of the model 'm': a string"),
        ({"models": {"m": {"nodes": ["n1", "n1"]}}}, "the model 'm' names a node twice"),
        ({"models": {"m": {"versions": ["3"]}}}, "a version of the model 'm': a whole number"),
        ({"models": {"m": {"versions": [True]}}}, "a version of the model 'm': a whole number"),
        ({"models": {"m": {"labels": {"a": None}}}}, "the label 'a' of the model 'm'"),
        ({"models": {"": {}}}, "a model has no name"),
    ],
)
def test_what_is_no_map_is_refused_with_the_place(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        read(json.dumps({**DOCUMENT, **change}))
    assert says in error.value.message


@pytest.mark.parametrize(
    "address",
    ["h", "h:", ":1", "h:0", "h:65536", "http://h:1", "h:1/x", "h:1\r\nx: y", "u@h:1", "::1:80"],
)
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(InvalidArgument, match=r"is no HOST:PORT"):
        Peer("n1", address)


@pytest.mark.parametrize(
    "garbage", ["", "{", "[]", "null", "[" * 100_000, "9" * 5_000, b"\xff\xfe"]
)
def test_garbage_is_refused_and_never_anything_else(garbage: str | bytes) -> None:
    with pytest.raises(InvalidArgument):
        read(garbage)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,20}", fullmatch=True)
PEERS = st.dictionaries(
    NAMES, st.builds(Peer, st.just("n"), st.just("h:1"), zone=st.text(max_size=5)), max_size=4
)
NUMBERS = st.integers(0, (1 << 63) - 1)


@given(PEERS, st.data())
def test_any_map_comes_back_as_it_was(peers: dict[str, Peer], data: st.DataObject) -> None:
    named = {name: replace(peer, name=name) for name, peer in peers.items()}
    nodes = st.lists(st.sampled_from(sorted(named)), unique=True) if named else st.just([])
    placed = st.builds(
        Placed,
        nodes.map(tuple),
        st.lists(NUMBERS, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3),
    )
    models = data.draw(st.dictionaries(st.text(min_size=1, max_size=5), placed, max_size=4))
    map = PeerMap(data.draw(NUMBERS), named, models)
    assert read(text(map)) == map


def test_the_peers_of_a_zone_are_those_that_say_the_same() -> None:
    zones = {"n1": "a", "n2": "b", "n3": "a", "n4": "", "n5": ""}
    map = PeerMap(1, {name: Peer(name, "h:1", zone=zone) for name, zone in zones.items()})
    assert map.in_zone_of("n1") == {"n1", "n3"}
    assert map.in_zone_of("n2") == {"n2"}
    assert map.in_zone_of("n4") == map.in_zone_of("unknown") == frozenset()
