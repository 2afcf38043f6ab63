"""Batching: what it costs a lone client, and what it gains with many."""

import batching
from batching import SETTINGS, TUNED, WITHOUT, Bench, Cost
from contestants import OURS, YARDSTICK
from figures import Bar, Result, least
from stage import Stage
from tasks import nets
from turns import chart

IDLE = 0.95  # never slower when idle, but for the noise
DEFAULT = "`--enable_batching` alone"


def convnet(stage: Stage) -> Result:
    """A net of two convolutions, 64 clients and one."""
    result = Result("batching")
    nets(stage.models, "convnet")
    case = batching.convnet(stage.models)
    bench = Bench(case, "rest", 64, max(1, round(stage.seconds)), stage.scratch)
    settings = {**SETTINGS, "tuned": TUNED}
    turns = 1 if stage.is_quick else stage.turns
    costs, _ = batching.measured(bench, settings, turns, with_idle=False)
    groups = {}
    for clients, bound in ((64, least(1.0)), (1, least(IDLE))):
        what = f"batching, a small convnet, {clients} client{'s' * (clients > 1)}"
        plain = costs[WITHOUT, clients]
        for name in settings:
            if name == WITHOUT:
                continue
            pairs = list(zip(costs[name, clients], plain, strict=True))
            goal = bound if name == DEFAULT else None
            text = f"{what}, {name}"
            rate = [one.load.rate / other.load.rate for one, other in pairs]
            result.add(f"{text}: rate beside no batching", rate, goal=goal)
            cpu = [one.cpu_s / other.cpu_s for one, other in pairs]
            result.add(f"{text}: CPU per request beside no batching", cpu)
        groups[f"{clients} client{'s' * (clients > 1)}"] = tuple(
            Bar(name.replace("`", ""), rates(costs[name, clients]),
                YARDSTICK if name == WITHOUT else OURS)
            for name in settings
        )  # fmt: skip
    title = "Batching: a net of two convolutions, 28×28 pixels"
    result.charts.append(chart("performance-batching", title, "requests per second", groups))
    return result


def rates(turns: list[Cost]) -> tuple[float, ...]:
    return tuple(turn.load.rate for turn in turns)
