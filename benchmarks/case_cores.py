"""One worker process and two: rate, and CPU per request, for the generator shares the cores."""

from contestants import OURS, has_flag, salver
from figures import Result
from stage import Stage, kinds
from tasks import small
from turns import chart

WORKERS = (1, 2)


def workers(stage: Stage) -> Result:
    result = Result("workers")
    if not has_flag("workers"):
        result.failed = "this server has no --workers"
        return result
    starts = {
        f"{count} worker{'s' * (count > 1)}": salver(f"--workers={count}", name=f"workers{count}")
        for count in WORKERS
    }
    one, two = starts
    apis = {}
    with stage.running(small(stage.models), starts) as servers:
        for name in starts:
            result.add(f"{name}: memory of all processes", [servers[name].child.whole_mib()], "MiB")
        apis["REST, 64 connections"] = stage.race(
            {name: each.rest(64, stage.scratch) for name, each in servers.items()}
        )
        apis["gRPC, 64 calls over 16 connections"] = stage.race(
            {name: each.grpc(16, 4, stage.scratch) for name, each in servers.items()}
        )
    for api, race in apis.items():
        result.add(f"{api}: rate of 2 workers beside 1", race.ratio(two, one))
        result.add(f"{api}: CPU per request of 2 workers beside 1", race.ratio(two, one, "cpu_ms"))
        for name in starts:
            result.add(f"{api}: {name}", race.of(name), "/s")
    for key, unit, name in (
        ("rate", "requests per second", "performance-workers"),
        ("cpu_ms", "CPU per request of all processes, ms", "performance-workers-cpu"),
    ):
        groups = {api: race.bars(kinds(starts, dict.fromkeys(starts, OURS)), key)
                  for api, race in apis.items()}  # fmt: skip
        result.charts.append(chart(name, "half_plus_two, one and two workers", unit, groups))
    return result
