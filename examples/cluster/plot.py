"""What happened, as a picture: answers per second by node, what failed, and where models were."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from load import Answered
from matplotlib.figure import Figure

BIN_S = 1.0


def draw(
    path: Path,
    answered: Sequence[Answered],
    events: Sequence[tuple[float, str]],
    placed: Sequence[tuple[float, dict[str, int]]],
) -> None:
    """Write it.

    Args:
        path: of the picture.
        answered: all requests.
        events: moment → what was done then.
        placed: moment → models at each node.
    """
    end_s = max((each.at_s for each in answered), default=1.0)
    bins = np.arange(0.0, end_s + BIN_S, BIN_S)
    hosts = sorted({each.host for each in answered if each.host})
    moments = [[each.at_s for each in answered if each.host == host] for host in hosts]
    rates = [np.histogram(each, bins)[0] / BIN_S for each in moments]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    above.stackplot(bins[:-1], *rates, labels=hosts, step="post")
    failed = [each.at_s for each in answered if each.error]
    above.plot(failed, np.zeros(len(failed)), "rx", label=f"failed: {len(failed)}")
    above.set_ylabel("answers per second")
    above.set_title(f"{len(answered)} requests, {len(failed)} failed")
    top = above.get_ylim()[1]
    for at_s, what in events:
        for axes in (above, below):
            axes.axvline(at_s, color="black", linewidth=0.8, linestyle=":")
        above.text(at_s, top, f" {what}", rotation=90, va="top", fontsize=8)
    for host in hosts:
        below.step(
            [at_s for at_s, _ in placed], [at.get(host, 0) for _, at in placed], where="post",
            label=host,
        )  # fmt: skip
    below.set_ylabel("models available")
    below.set_xlabel("seconds")
    below.set_ylim(bottom=0)
    above.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
