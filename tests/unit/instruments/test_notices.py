import logging

from salver.instruments.notices import NOTICE


def test_a_notice_is_more_than_information_and_no_warning() -> None:
    assert logging.INFO < NOTICE < logging.WARNING
