"""Everything that Salver promises of its speed, in one run, as ratios taken side by side.

    python benchmarks/suite.py [rest] [grpc] ... [--turns 5] [--seconds 2] [--quick] [--peers]
                               [--json FILE] [--plots DIR] [--report]
    python benchmarks/suite.py rest --target NAME --command "..." --url http://...

* rest, grpc: half_plus_two beside bare ceilings, 16 and 64 connections;
* mlp, image, image_grpc: images as JSON and as tensors, and what carrying them costs;
* resnet50: a heavy model, beside calling the C API in process;
* start, cycles: start-up and memory, beside a bare process; memory after 200 loads and unloads;
* swaps: p99 while models load and swap; fairness: beside slow models and hostile bodies;
* batching; workers: one and two; many_models: a thousand;
* python: a function of Python in a child process, beside servers that are made for that.

Servers of a comparison run side by side and are loaded in turns, in an order that is drawn anew; a
ratio is taken within a turn, and its median over the turns counts. `--quick` is a smoke test.

`--peers` installs FastAPI, mosec, LitServe and BentoML into an environment of their own, and
measures them too. `--target`, repeatable, measures any other server in the same turns: `--command`
starts it, and `{model}`, `{version}`, `{rest_port}` and `{grpc_port}` in it are filled in; `--url`
takes the REST body, `--grpc HOST:PORT` the PredictRequest for a model named `m`. A target whose
command takes `{model}` or `{version}` is in all cases, another only in those of half_plus_two.

Needs wrk and h2load (Debian packages wrk and nghttp2-client) and, to make the models, TensorFlow.
Exits with 1 when a case could not be measured; a target that is not met is said, and no failure.
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import peers
import report
from contestants import Extra, Start, missing_tools
from environment import environment
from figures import Result, as_document, table
from stage import Stage
from tasks import cache

Case = Callable[[Stage], Result]

# Where each case is; imported when it is asked for, as some need more than others.
CASES = {
    "rest": ("case_small", "rest"),
    "grpc": ("case_small", "grpc"),
    "mlp": ("case_images", "mlp_json"),
    "image": ("case_images", "image_json"),
    "image_grpc": ("case_images", "image_grpc"),
    "resnet50": ("case_heavy", "resnet50"),
    "start": ("case_process", "start"),
    "cycles": ("case_process", "cycles"),
    "batching": ("case_batching", "convnet"),
    "swaps": ("case_tails", "swapped"),
    "fairness": ("case_fairness", "fairness"),
    "workers": ("case_cores", "workers"),
    "python": ("case_python", "python_function"),
    "many_models": ("case_many", "many_models"),
}


class OfTarget(argparse.Action):
    """`--target` begins a new one; `--command`, `--url` and `--grpc` describe the last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        targets: list[Extra] = list(namespace.targets)
        if self.dest == "target":
            targets.append(Extra(values))
        elif not targets:
            parser.error(f"{option_string} needs --target before it")
        else:
            targets[-1] = replace(targets[-1], **{self.dest: values})
        namespace.targets = targets


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(targets=[])
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--turns", type=int)
    parser.add_argument("--seconds", type=float, help="of one load in one turn")
    parser.add_argument("--quick", action="store_true", help="2 turns of 1 s: a smoke test")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plots", type=Path, help="draw the charts into this directory")
    parser.add_argument("--report", action="store_true", help="fill docs/performance.md")
    parser.add_argument("--models", type=Path, default=cache() / "models", help="keep them here")
    parser.add_argument("--peers", action="store_true", help="install and measure other servers")
    parser.add_argument("--target", action=OfTarget, help="the name of another server")
    parser.add_argument("--command", action=OfTarget, help="which starts it")
    parser.add_argument("--url", action=OfTarget, help="to which its REST requests go")
    parser.add_argument("--grpc", action=OfTarget, help="host:port for its gRPC calls")
    chosen = parser.parse_args(arguments)
    for target in chosen.targets:
        if not target.command or not (target.url or target.grpc):
            parser.error(f"target {target.name} needs --command, and --url or --grpc")
    chosen.turns = chosen.turns or (2 if chosen.quick else 5)
    chosen.seconds = chosen.seconds or (1.0 if chosen.quick else 2.0)
    chosen.names = chosen.names or list(CASES)
    return chosen


def renamed(arguments: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Arguments in which the cases have the suite's names; all of `names` where there are none."""
    cases = [names[word] for word in arguments if word in names]
    others = [word for word in arguments if word not in names]
    return [*dict.fromkeys(cases or names.values()), *others]


def installed_peers(place: Path) -> dict[str, Start]:
    """The other servers that can be had; says which cannot."""
    for name in peers.PEERS:
        why = peers.install(place, name)
        if why:
            print(f"{name} cannot be installed: {why}", file=sys.stderr)
    return peers.starts(place)


def measured(name: str, stage: Stage) -> Result:
    """One case; what goes wrong is written down, and the others go on."""
    module, function = CASES[name]
    begun_s = time.monotonic()
    try:
        case: Case = getattr(importlib.import_module(module), function)
        result = case(stage)
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        words = next(iter(str(error).splitlines()), "")
        result = Result(name, failed=f"{type(error).__name__}: {words}")
    result.took_s = round(time.monotonic() - begun_s, 1)
    return result


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """All cases chosen; prints each table when it is there."""
    place = cache() / "peers"
    others = installed_peers(place) if chosen.peers else {}
    about = {**environment(), "turns": chosen.turns, "seconds": chosen.seconds}
    if chosen.peers:
        about["versions"] |= peers.versions(place)
    results = []
    with tempfile.TemporaryDirectory(prefix="suite-") as directory:
        for name in chosen.names:
            scratch = Path(directory, name)
            scratch.mkdir()
            stage = Stage(
                *(chosen.turns, chosen.seconds, chosen.quick, chosen.models, scratch, others),
                tuple(chosen.targets),
            )
            results.append(measured(name, stage))
            shutil.rmtree(scratch, ignore_errors=True)
            show(results[-1])
            if chosen.json is not None:  # so that what is measured stays when a later case hangs
                chosen.json.write_text(json.dumps(as_document(results, about), indent=1))
    return as_document(results, about)


def show(result: Result) -> None:
    print(f"\n{result.case}, {result.took_s:.0f} s\n")
    if result.figures:
        print(table(result.figures))
    for note in result.notes:
        print(note)
    if result.failed:
        print(f"NOT MEASURED: {result.failed}")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = parsed(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # of what TensorFlow says in this process
    missing = missing_tools(("wrk", "h2load"))
    if missing:
        sys.exit(f"needed: apt-get install {' '.join(missing)}")
    document = run(chosen)
    results, _ = report.merged([document])
    if chosen.plots is not None:
        report.draw(results, chosen.plots)
    if chosen.report:
        report.write([document], report.PAGE)
    aimed = [each for result in results for each in result.figures if each.goal is not None]
    unmet = [each for each in aimed if not each.is_met]
    print(f"\n{len(aimed) - len(unmet)} of {len(aimed)} targets met;", end=" ")
    print(f"{sum(result.took_s for result in results) / 60:.1f} minutes")
    sys.exit(any(result.failed for result in results))


if __name__ == "__main__":
    main()
