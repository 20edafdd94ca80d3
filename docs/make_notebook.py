"""Run ``docs/notebook.ipynb`` and save the outputs of its cells: ``make notebook``.

Metadata that differs between machines or runs is removed. Edit the cells in any notebook editor,
then run this.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")
OF_THIS_MACHINE = (str(Path(__file__).resolve().parents[1]), str(Path.home()), sys.prefix)


def run(path: Path) -> Any:
    """The notebook after all of its cells ran in its own folder.

    Raises RuntimeError if a cell writes to standard error or shows a path of this machine;
    nbclient's errors if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    # A dependency of librosa warns that it cannot draw a progress bar without ipywidgets.
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}})
    client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            said = str(output)
            if output.output_type == "error" or output.get("name") == "stderr":
                raise RuntimeError(f"a cell writes to standard error; fix it: {said}")
            for place in (*OF_THIS_MACHINE, tempfile.gettempdir()):
                if place in said:
                    raise RuntimeError(f"a cell shows {place}; change it")
    return notebook


def main() -> None:
    """Replace the notebook by the executed one."""
    notebook = run(NOTEBOOK)
    nbformat.validate(notebook)
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK.name}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    main()
