"""What the figures were taken on; no names of hosts or places."""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "salver", "tensorflow", "tensorflow-cpu", "numpy", "uvloop", "httptools", "orjson",
    "pysimdjson", "hpack", "grpcio",
)  # fmt: skip
TOOLS = {
    "wrk": (("wrk", "--version"), r"wrk (\S+)"),
    "h2load": (("h2load", "--version"), r"nghttp2/(\S+)"),
}


def environment() -> dict[str, Any]:
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def cpu_model(cpuinfo: str) -> str:
    found = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for name, (command, pattern) in TOOLS.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        said = re.search(pattern, done.stdout + done.stderr)
        if said:
            found[name] = said[1]
    return found
