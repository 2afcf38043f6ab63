"""What is remembered of who was let in, with the header fields that they bring."""

from collections.abc import Callable, Mapping

from salver.vocabulary.access import Need, Principal

__all__ = ["Admission", "Tally"]


class Tally:
    """How many requests of one principal one model has answered well. Belongs to the loop.

    Attributes:
        answered: that many.
    """

    __slots__ = ("answered",)

    def __init__(self) -> None:
        self.answered = 0


class Admission:
    """What was found of requests that bring the same header fields for the same route or method.

    It holds as long as the rules are those that it was found by, and no longer than `until_s`. One
    is read for each request, hence slots, which are never written again.

    Attributes:
        rules: that it was found by; compared by identity.
        need: what had to be permitted; likewise.
        until_s: when the credentials are no more taken, in seconds since the epoch; None: never.
        principal: whose they are.
        enter: counts a request against the limits of its principal; None where there are none.
        is_batch: whether its requests are batch work.
        tallies: name of each model that is permitted, as far as it was asked for → what counts its
            answers.
    """

    __slots__ = ("enter", "is_batch", "need", "principal", "rules", "tallies", "until_s")

    def __init__(
        self,
        rules: object,
        need: Need,
        until_s: float | None,
        principal: Principal,
        enter: Callable[[Principal], Callable[[], None] | None] | None,
        *,
        is_batch: bool,
        tallies: Mapping[str, Tally],
    ) -> None:
        self.rules = rules
        self.need = need
        self.until_s = until_s
        self.principal = principal
        self.enter = enter
        self.is_batch = is_batch
        self.tallies = tallies
