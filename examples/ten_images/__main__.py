"""Train, serve, and ask for ten images: `python -m examples.ten_images`."""

from pathlib import Path

from examples.walk import (
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


def main() -> None:
    options = read_options(__doc__)
    with told():
        work = work_directory("ten_images")
        step("Train for five epochs, and save as version 1")
        run_script(HERE / "train.py", str(work))
        for path in sorted((work / "mnist_model").rglob("*")):
            say(f"  {path.relative_to(work)}")

        step("Serve it")
        port = options.port(8501)
        with model_server(
            options,
            work / "server.log",
            port,
            "--model_name=mnist_model",
            f"--model_base_path={work.resolve() / 'mnist_model'}",
        ) as server:
            step("Post ten images with requests")
            url = f"{server.url}/v1/models/mnist_model:predict"
            printed = run_script(HERE / "ask.py", url)
        must(printed.endswith("10 of 10 are right\n"), "each prediction is the label")


if __name__ == "__main__":
    main()
