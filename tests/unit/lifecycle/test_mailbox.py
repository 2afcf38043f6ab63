import threading

from salver.lifecycle.mailbox import Mailbox, release_waiting
from salver.lifecycle.messages import Settle, Wake

WAIT_S = 10


def test_messages_are_taken_together_in_their_order() -> None:
    mailbox = Mailbox()
    for message in "abc":
        mailbox.put(message)
    assert mailbox.take(None) == ["a", "b", "c"]
    assert mailbox.take_rest() == []


def test_the_first_is_waited_for() -> None:
    mailbox, taken = Mailbox(), list[object]()
    thread = threading.Thread(target=lambda: taken.extend(mailbox.take(None)))
    thread.start()
    mailbox.put(Wake())
    thread.join(WAIT_S)
    assert taken == [Wake()]


def test_it_is_waited_for_no_longer_than_that() -> None:
    assert Mailbox().take(0.01) == []
    assert Mailbox().take(-5.0) == []


def test_who_asks_is_told_when_what_came_before_has_been_decided_on() -> None:
    mailbox = Mailbox()
    mailbox.put(Wake())
    done = mailbox.ask()
    messages = mailbox.take(None)
    assert [type(message) for message in messages] == [Wake, Settle]
    assert not done.is_set()
    release_waiting(messages)
    assert done.is_set()
