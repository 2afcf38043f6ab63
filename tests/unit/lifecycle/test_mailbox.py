import threading

from salver.lifecycle.mailbox import Mailbox, Message, release_waiting

WAIT_S = 10


def test_messages_are_taken_together_in_their_order() -> None:
    mailbox = Mailbox()
    messages = [float, int, str]
    for message in messages:
        mailbox.put(message)
    assert mailbox.take(None) == messages
    assert mailbox.take_rest() == []


def test_the_first_is_waited_for() -> None:
    mailbox, taken = Mailbox(), list[Message]()
    thread = threading.Thread(target=lambda: taken.extend(mailbox.take(None)))
    thread.start()
    mailbox.put(dict)
    thread.join(WAIT_S)
    assert taken == [dict]


def test_it_is_waited_for_no_longer_than_that() -> None:
    assert Mailbox().take(0.01) == []
    assert Mailbox().take(-5.0) == []


def test_who_asks_is_told_when_what_came_before_has_been_decided_on() -> None:
    mailbox = Mailbox()
    mailbox.put(dict)
    done = mailbox.put_settle()
    messages = mailbox.take(None)
    assert messages == [dict, done]
    assert not done.is_set()
    release_waiting(messages)
    assert done.is_set()
