"""A pipeline over named columns: trained, served, asked, and shown on a page.

python -m examples.credit_risk [--once]
"""

import json
from pathlib import Path
from typing import Any

from examples.walk import (
    Options,
    curl,
    model_server,
    must,
    read_options,
    run_script,
    say,
    step,
    told,
    work_directory,
)  # fmt: skip

HERE = Path(__file__).resolve().parent
MODEL = "credit_risk"
PEOPLE = [
    {"age": 44, "debt_ratio": 12, "home": "owns", "income": 42, "loan": 8, "months": 36,
     "work": "employed"},
    {"age": 51, "debt_ratio": 68, "home": "rents", "income": 12, "loan": 25, "months": 24,
     "work": "unemployed"},
]  # fmt: skip


def ask(url: str, **more: Any) -> Any:
    body = json.dumps({**more, "instances": PEOPLE})
    printed = curl("-X", "POST", f"{url}/v1/models/{MODEL}:predict", "-d", body)
    return json.loads(printed)["predictions"]


def main(options: Options) -> None:
    work = work_directory(MODEL)
    step("1 A pipeline is trained on made-up people")
    run_script(HERE / "train.py", str(work / MODEL))
    step("2 It is served")
    flags = (f"--model_name={MODEL}", f"--model_base_path={work.resolve() / MODEL}")
    port = options.port(8501)
    with model_server(options, work / "server.log", port, *flags) as server:
        step("3 Two people are asked about, by the names of columns")
        must(ask(server.url) == ["repaid", "defaulted"], "the first repays, the second does not")
        step("4 And how sure it is: in the order of the labels, defaulted and repaid")
        first, second = ask(server.url, signature_name="predict_proba")
        must(first[1] > 0.8 and second[0] > 0.5, "it is as sure as that")
        if not options.once:
            say(f"\nThe form is at {server.url}/ui/. Ctrl-C ends this.")
            server.process.wait()


if __name__ == "__main__":
    with told():
        main(read_options(__doc__ or ""))
