"""Execute the notebook and write it, with its outputs, to `.examples/notebook`.

    python -m examples.notebook

To work in it instead: `pip install jupyterlab`, then `jupyter lab examples/notebook/fashion.ipynb`.
"""

import os
import shutil
import signal
from pathlib import Path

import nbformat
from examples.walk import Failed, read_options, say, told, work_directory
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
NAME = "fashion.ipynb"


def end_server(pid_file: Path) -> None:
    """End the server that the notebook put in the background, where it did not come to do so."""
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists() and b"tensorflow_model_server" in command.read_bytes():
        os.kill(pid, signal.SIGTERM)


def main() -> None:
    read_options(__doc__)
    with told():
        work = work_directory("notebook")
        for name in (NAME, "clothes.py"):
            shutil.copy(HERE / name, work)
        say(f"Executing {work / NAME} ...")
        notebook = nbformat.reads((work / NAME).read_text(), as_version=4)
        client = NotebookClient(
            notebook,
            timeout=300,
            record_timing=False,
            resources={"metadata": {"path": str(work)}},
        )
        try:
            client.execute()
        except CellExecutionError as error:
            raise Failed(str(error)) from error
        finally:
            end_server(work / "server.pid")
            nbformat.write(notebook, work / NAME)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        say(f"{len(cells)} cells were executed; open it with `jupyter lab {work / NAME}`.")


if __name__ == "__main__":
    main()
