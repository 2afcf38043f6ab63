from salver.client.address import Address
from salver.client.kept import KeptTransports


def at(place: int) -> Address:
    return Address(is_grpc=False, is_secure=False, target=f"http://h{place}:1")


def kept(most: int) -> KeptTransports[str]:
    return KeptTransports(lambda address: address.target, most)


def test_what_was_used_last_is_kept() -> None:
    transports = kept(2)
    for place in (0, 1, 0):
        transports.take(at(place))
        assert transports.give_back(at(place)) == []
    transports.take(at(2))
    assert transports.give_back(at(2)) == ["http://h1:1"]
    assert transports.take_out() == ["http://h0:1", "http://h2:1"]


def test_what_is_in_use_is_kept_until_its_last_user_gives_it_back() -> None:
    transports = kept(1)
    for place in (0, 0, 1, 2):
        transports.take(at(place))
    assert transports.give_back(at(0)) == []
    assert transports.give_back(at(1)) == ["http://h1:1"]
    assert transports.give_back(at(0)) == ["http://h0:1"]
    assert transports.give_back(at(2)) == []


def test_what_is_given_back_after_the_end_is_no_more() -> None:
    transports = kept(1)
    transports.take(at(0))
    assert transports.take_out() == ["http://h0:1"]
    assert transports.give_back(at(0)) == []
