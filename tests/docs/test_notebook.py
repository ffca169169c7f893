"""The notebook of the examples runs from its first cell to its last, and learns something on the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples/quickstart.ipynb"


def texts(notebook) -> str:
    return "\n".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))


def dice(notebook) -> float:
    return float(re.search(r"mean Dice ([\d.]+)", texts(notebook)).group(1))


def test_it_is_kept_with_small_outputs():
    nbformat = pytest.importorskip("nbformat")
    assert NOTEBOOK.stat().st_size < 150_000
    assert dice(nbformat.read(NOTEBOOK, as_version=4)) > 0.5


@pytest.mark.slow
def test_it_runs(environment, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, environment[name])
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    assert dice(notebook) > 0.5
