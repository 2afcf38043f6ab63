from salver.children.limits import BackOff


def test_the_first_death_is_no_reason_to_wait_and_later_ones_are_up_to_ten_seconds() -> None:
    back_off = BackOff()
    delays = [back_off.delay_s(1.0, is_own_fault=True) for _ in range(12)]
    assert delays[:5] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert max(delays) == delays[-1] == 10.0


def test_one_that_has_behaved_is_replaced_at_once() -> None:
    back_off = BackOff()
    for _ in range(9):
        back_off.delay_s(1.0, is_own_fault=True)
    assert back_off.delay_s(31.0, is_own_fault=True) == 0.0


def test_one_that_the_server_has_ended_for_a_deadline_is_replaced_at_once() -> None:
    back_off = BackOff()
    for _ in range(9):
        assert back_off.delay_s(1.0, is_own_fault=False) == 0.0
    assert back_off.delay_s(1.0, is_own_fault=True) == 0.0
