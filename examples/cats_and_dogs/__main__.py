"""A picture classifier, saved as `.h5` and as a SavedModel, on port 8080, beside a second model.

python -m examples.cats_and_dogs
"""

import ast
import re
import shutil
from pathlib import Path

import numpy as np
from examples.walk import (
    Options,
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
MODEL = "cats_vs_dogs"
WITHIN = 1e-6  # of a probability: some steps of float32 just below 1


def printed_number(text: str) -> float:
    """The number in `array([[0.5]], dtype=float32)`."""
    found = re.search(r"array\(\[\[(.*?)\]\]", text)
    assert found is not None, text
    return float(found.group(1))


def ask(url: str, model: str, picture: Path) -> float:
    """The served answer, by the tutorial's request."""
    printed = run_script(HERE / "ask.py", f"{url}/v1/models/{model}:predict", str(picture))
    return float(ast.literal_eval(printed)["predictions"][0][0])


def must_agree(served: float, local: float) -> None:
    must(bool(np.isclose(served, local, rtol=1e-5, atol=WITHIN)), f"{served} is {local}")
    say(f"  the local answer was {local!r}; they differ by {abs(served - local):.1e}")


def train(work: Path) -> None:
    step("Pictures, and a network trained on them")
    run_script(HERE / "pictures.py", str(work / "dogscats"))
    run_script(HERE / "train.py", str(work / "dogscats"), str(work / "output"))
    for name in (MODEL, "model_2"):
        (work / "models" / name / "1").parent.mkdir(parents=True)
    output = work / "output"
    shutil.copytree(output / "vgg16_cats_vs_dogs.pb", work / "models" / MODEL / "1")
    (work / "models" / "model_2" / "1").mkdir()
    shutil.copy(output / "vgg16_cats_vs_dogs.h5", work / "models" / "model_2" / "1")
    for path in sorted((work / "models").rglob("*")):
        say(f"  {path.relative_to(work)}")


def serve_one(options: Options, work: Path, pictures: dict[Path, float]) -> None:
    step("One model on port 8080; it answers as the .h5 file does")
    flags = [f"--model_name={MODEL}", f"--model_base_path={work / 'models' / MODEL}"]
    with model_server(options, work / "one.log", options.port(8080), *flags) as server:
        server.print_log("Entering the event loop")
        for picture, local in pictures.items():
            must_agree(ask(server.url, MODEL, picture), local)


def serve_two(options: Options, work: Path, pictures: dict[Path, float]) -> None:
    step("Two models from one configuration; model_2 is the .h5 file itself")
    config = work / "models.config"
    config.write_text((HERE / "models.config").read_text().replace("/app", str(work)))
    flags = [f"--model_config_file={config}"]
    with model_server(options, work / "two.log", options.port(8080), *flags) as server:
        server.wait_until("model_2", 1)
        for model in (MODEL, "model_2"):
            for picture, local in pictures.items():
                must_agree(ask(server.url, model, picture), local)


def main() -> None:
    options = read_options(__doc__)
    with told():
        work = work_directory("cats_and_dogs").resolve()
        train(work)
        step("What the .h5 file says of a cat and of a dog, without a server")
        pictures = {}
        for kind in ("cats", "dogs"):
            picture = work / "dogscats" / "sample" / kind / "0.png"
            h5 = work / "output" / "vgg16_cats_vs_dogs.h5"
            pictures[picture] = printed_number(
                run_script(HERE / "predict.py", str(h5), str(picture))
            )
        cat, dog = pictures.values()
        must(cat < 0.5 < dog, "a cat is a cat and a dog a dog")
        serve_one(options, work, pictures)
        serve_two(options, work, pictures)


if __name__ == "__main__":
    main()
