"""The notebook as it is in git; test_pipeline.py runs it on the results of a pipeline."""

from __future__ import annotations

import nbformat
from project import ROOT

# covers: R19

NOTEBOOK = ROOT / "notebooks/walkthrough.ipynb"


def test_it_is_committed_without_outputs():
    """They would change with each run, and hold pictures."""
    cells = nbformat.read(NOTEBOOK, 4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert len(code) >= 8
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert [cell.execution_count for cell in code] == [None] * len(code)
