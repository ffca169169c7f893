"""The curves of summary.json as charts; a curve that was not measured is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyp_monai.report.charts import Axis, chart, dots, line, upright
from polyp_monai.report.tables import label, show


def curves(summary: Mapping[str, Any]) -> str:
    """Threshold, precision-recall and reliability curves."""
    measured, calibration = summary.get("curves") or {}, summary.get("calibration")
    charts = []
    if measured.get("threshold"):
        charts.append(_threshold(measured, (summary.get("run") or {}).get("threshold")))
    if measured.get("pr_recall"):
        charts.append(_precision_recall(measured))
    if calibration and any(calibration["count"]):
        charts.append(_reliability(calibration))
    return "".join(charts)


def _threshold(measured: Mapping[str, Any], used: float | None) -> str:
    names = [name for name in ("dice", "iou", "sensitivity", "precision") if measured.get(name)]
    x, y = Axis("threshold on the probability"), Axis("mean over frames with a polyp")
    marks = [line(x, y, measured["threshold"], measured[name], i) for i, name in enumerate(names)]
    note = "The threshold is chosen on validation, never by this curve."
    if used is not None:
        marks.append(upright(x, used, f"used: {used:g}"))
    return chart("Figures by threshold", note, x, y, marks, [label(name) for name in names])


def _precision_recall(measured: Mapping[str, Any]) -> str:
    x, y = Axis("recall"), Axis("precision")
    note = f"All pixels pooled; average precision {show(measured.get('average_precision'))}."
    return chart("Precision and recall", note, x, y, [line(x, y, measured["pr_recall"], measured["pr_precision"])])


def _reliability(calibration: Mapping[str, Any]) -> str:
    x, y = Axis("mean probability of the pixels in a bin"), Axis("share that is polyp")
    filled = [(c, a) for c, a in zip(calibration["confidence"], calibration["accuracy"], strict=True) if c is not None]
    confidence, accuracy = zip(*filled, strict=True)
    marks = [line(x, y, (0, 1), (0, 1), 4), line(x, y, confidence, accuracy), dots(x, y, confidence, accuracy, "knots")]
    error = show(calibration.get("expected_calibration_error"))
    note = f"On the diagonal, probabilities mean what they say; below it they promise too much. Expected error {error}."
    return chart("Reliability", note, x, y, marks)
