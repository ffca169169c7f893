"""The curves of summary.json as charts; a curve that was not measured is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyp_monai.metrics import registry
from polyp_monai.report.charts import IDEAL, STYLES, Axis, Chart, dots, line, upright
from polyp_monai.report.parts import show


def curves(summary: Mapping[str, Any]) -> list[Chart]:
    """Threshold, precision-recall and reliability curves."""
    measured, calibration = summary.get("curves") or {}, summary.get("calibration")
    charts = []
    if measured.get("threshold"):
        charts.append(_threshold(measured, (summary.get("run") or {}).get("threshold")))
    if measured.get("pr_recall"):
        charts.append(_precision_recall(measured))
    if calibration and any(calibration["count"]):
        charts.append(_reliability(calibration))
    return charts


def _threshold(measured: Mapping[str, Any], used: float | None) -> Chart:
    metrics = [metric for metric in registry.shown("curve") if measured.get(metric.name)]
    x, y = Axis("threshold on the probability"), Axis("mean over frames with a polyp")
    marks = [
        mark for i, m in enumerate(metrics) for mark in line(x, y, measured["threshold"], measured[m.name], i % STYLES)
    ]
    if used is not None:
        marks += upright(x, used, f"used: {used:g}")
    note = "The threshold is chosen on validation, never by this curve."
    return Chart("Metrics by threshold", note, x, y, marks, [metric.label for metric in metrics])


def _precision_recall(measured: Mapping[str, Any]) -> Chart:
    x, y = Axis("recall"), Axis("precision")
    note = f"All pixels pooled; average precision {show(measured.get('average_precision'))}."
    return Chart("Precision and recall", note, x, y, line(x, y, measured["pr_recall"], measured["pr_precision"]))


def _reliability(calibration: Mapping[str, Any]) -> Chart:
    x, y = Axis("mean probability of the pixels in a bin"), Axis("share that is polyp")
    filled = [(c, a) for c, a in zip(calibration["confidence"], calibration["accuracy"], strict=True) if c is not None]
    confidence, accuracy = zip(*filled, strict=True)
    marks = [*line(x, y, (0, 1), (0, 1), IDEAL), *line(x, y, confidence, accuracy)]
    marks.append(dots(x, y, confidence, accuracy, "knots"))
    error = show(calibration.get("expected_calibration_error"))
    note = f"On the diagonal, probabilities mean what they say; below it they promise too much. Expected error {error}."
    return Chart("Reliability", note, x, y, marks)
