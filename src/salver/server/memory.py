"""Keeping the garbage collector away from what is loaded."""

import gc

__all__ = ["freeze_at_start", "settle_memory"]


def settle_memory() -> None:
    """Collect, then freeze what is alive, so that later collections do not walk it.

    Each large JSON body makes so many lists that the collector runs its oldest generation;
    walking all that is loaded each time took the mean of a 3 MB image from 17 to 79 ms. Freezing
    alone would keep the garbage of unloaded versions for ever, hence the thaw before.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def freeze_at_start() -> None:
    """The same for the end of a start-up, but without the collection, which takes 10 ms.

    What little garbage the imports left is collected at the first load that follows. Enables the
    collector, which the commands disable while they import.
    """
    gc.freeze()
    gc.enable()
