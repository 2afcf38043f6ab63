"""Batches, noted by the thread that runs them for those requests of which notes are taken."""

import random
from collections.abc import Sequence

from salver.tracing.request import Batch, RequestTrace

__all__ = ["note_batch"]


def note_batch(
    traces: Sequence[RequestTrace | None], begun_s: float, rows: int, execution_rows: int
) -> Batch | None:
    """Note that requests are run together.

    Args:
        traces: of each, or of each part of one; None where no notes are taken.
        begun_s: when the run begins.
        rows: of them all.
        execution_rows: those that are run.

    Returns:
        The batch, whose end is to be noted; None where nobody takes notes.
    """
    noted = [each for each in traces if each is not None]
    if not noted:
        return None
    batch = Batch(begun_s, len(traces), rows, execution_rows)
    # Ids of those that are sampled are there from their beginning.
    batch.links = tuple((each.trace_id, each.span_id) for each in noted if each.is_sampled)
    if batch.links:
        batch.trace_id = batch.links[0][0]
        batch.span_id = random.getrandbits(64) or 1
    for trace in noted:
        trace.run_began(begun_s)
        trace.ran_in(batch)
    return batch
