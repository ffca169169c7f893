"""One line in the registry, and a value that scoring measures: then the metric is in every table and page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from polyp_monai import report
from polyp_monai.evaluation import comparison, cross_dataset, run_folder, scoring
from polyp_monai.metrics import pixel, registry
from polyp_monai.metrics.registry import Metric
from polyp_monai.report import comparison as comparison_page


def test_names_are_there_once():
    names = [metric.name for metric in registry.METRICS]
    assert len(set(names)) == len(names)
    assert registry.get(registry.MAIN) in registry.of_frames()


def test_all_that_a_frame_is_scored_by_is_registered():
    truth = np.zeros((32, 32), bool)
    truth[8:16, 8:16] = True
    row = scoring.score({"name": "a"}, truth.astype(np.float32), truth).row
    assert [m.name for m in registry.of_frames()] == [
        k for k in row if k not in ("name", "width", "height") and "pixels" not in k
    ]
    assert set(pixel.scores(pixel.Counts(1, 1, 1, 1))) <= {metric.name for metric in registry.of_frames()}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("dice", 0.5, "0.500"), ("dice", None, "-"), ("mae", float("nan"), "-"), ("hd95", 12.34, "12.3 px")],
)
def test_values_have_their_units(name, value, text):
    assert registry.get(name).text(value) == text


def test_an_unknown_key_is_its_own_label():
    assert registry.get("left_empty").label == "left empty"


def test_the_docs_name_every_metric_of_a_frame():
    """The table of docs/evaluation.md is the registry."""
    lines = Path(__file__).parents[2].joinpath("docs/evaluation.md").read_text(encoding="utf-8").splitlines()
    for metric in registry.of_frames():
        row = f"| `{metric.name}` | {metric.label} | {metric.unit or '0..1'} | {metric.better} |"
        assert any(line.startswith(row) for line in lines), row


@pytest.fixture
def with_new_metric(monkeypatch, tmp_path):
    """Two runs that were scored with one metric more than there is."""
    everywhere = frozenset({"headline", "sets", "comparison", "curve", "subset", "caption"})
    monkeypatch.setattr(registry, "METRICS", (*registry.METRICS, Metric("youden", "Youden's J", shown=everywhere)))
    real = pixel.scores

    def scores(counts):
        values = real(counts)
        return values | {"youden": values["sensitivity"] + values["specificity"] - 1}

    monkeypatch.setattr(pixel, "scores", scores)
    runs = []
    for run, shift in (("a", 1), ("b", 4)):
        scored = []
        for i in range(8):
            truth = np.zeros((32, 48), bool)
            truth[8:20, 8 : 20 + i] = True
            about = {"name": f"f{i}", "group": "", "tags": "flat", "image": "", "truth": "", "prediction": ""}
            scored.append(scoring.score(about, np.roll(truth, shift + i % 2, axis=1).astype(np.float32), truth))
        run_folder.write_run(tmp_path / run, scored, {"threshold": 0.5})
        runs.append(str(tmp_path / run))
    return runs


def test_a_new_metric_is_shown_everywhere(with_new_metric, tmp_path):
    run = Path(with_new_metric[0])
    with (run / "frames.csv").open() as file:
        assert float(next(csv.DictReader(file))["youden"]) > 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["frames_with_polyp"]["mean"]["youden"] > 0
    assert summary["subsets"]["flat"]["youden"] > 0
    assert any("Youden's J 0." in line for line in run_folder.headline(summary))
    assert "Youden's J" in cross_dataset._header()
    assert len(cross_dataset._row("a", summary)) == len(cross_dataset._header())

    result = comparison.compare(with_new_metric)
    assert "youden" in {pair["metric"] for pair in result["pairs"]}
    assert "Youden's J" in "\n".join(comparison.table(result))

    page = report.write(run).read_text()
    for words in ("mean Youden&#39;s J", "Youden&#39;s J\u00a0↑", "Youden&#39;s J 0."):  # tile, table, caption
        assert words in page
    page = comparison_page.write(result, tmp_path / "all.html").read_text()
    assert page.count("Youden&#39;s J") >= 3  # means, chart, table
