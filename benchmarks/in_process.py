"""The yardstick of heavy models: the C API called in process, with nothing around it.

    python benchmarks/in_process.py VERSION ROWS.npy --callers 2

Reads a line with a number of seconds, runs the model for so long from so many threads, each of
which calls again when its call is over, and writes `{"runs": …, "seconds": …, "cpu_s": …}`; until
its input ends. Runs go through TensorFlow's pool, as those of a server must.
"""

import argparse
import json
import sys
import threading
import time

import numpy as np

from salver.backends.tensorflow.library import load_library
from salver.backends.tensorflow.session import load_saved_model
from salver.vocabulary.model import Program


def program_of(directory: str) -> Program:
    model = load_saved_model(load_library(), directory, tags=["serve"], session_config=b"")
    return model.program("serving_default")


def measured(program: Program, rows: np.ndarray, callers: int, seconds: float) -> str:
    runs = [0] * callers
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    until_s = begun_s + seconds

    def call(at: int) -> None:
        while time.perf_counter() < until_s:
            program.run([rows])
            runs[at] += 1

    threads = [threading.Thread(target=call, args=(at,)) for at in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed_s = time.perf_counter() - begun_s
    cpu_s = time.process_time() - cpu_s
    return json.dumps({"runs": sum(runs), "seconds": passed_s, "cpu_s": cpu_s})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", help="of one version of a SavedModel")
    arguments.add_argument("rows", help="file with its only input, as numpy saves it")
    arguments.add_argument("--callers", type=int, default=1)
    chosen = arguments.parse_args()
    program, rows = program_of(chosen.directory), np.load(chosen.rows)
    program.run([rows])
    print("ready", flush=True)
    for line in sys.stdin:
        print(measured(program, rows, chosen.callers, float(line)), flush=True)


if __name__ == "__main__":
    main()
