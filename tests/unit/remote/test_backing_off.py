from salver.remote.backing_off import Backoff, jittered


def middle() -> float:
    return 0.5


def test_waits_double_up_to_a_bound() -> None:
    backoff = Backoff(1.0, 60.0)
    waits = [backoff.wait_s(n, rand=middle) for n in (1, 2, 3, 7, 1000)]
    assert waits == [1.0, 2.0, 4.0, 60.0, 60.0]


def test_servers_that_were_started_together_do_not_come_back_together() -> None:
    backoff = Backoff(10.0, 60.0)
    assert backoff.wait_s(1, rand=lambda: 0.0) == 9.0
    assert backoff.wait_s(1, rand=lambda: 1.0) == 11.0
    assert jittered(60.0, lambda: 0.0) == 54.0


def test_a_store_is_not_asked_before_it_wants_to_be() -> None:
    assert Backoff(1.0, 60.0).wait_s(1, 120.0, rand=lambda: 0.0) == 120.0
    assert Backoff(1.0, 60.0).wait_s(7, 3.0, rand=middle) == 60.0
