"""Fills a bundle's card and metadata from what evaluations measured, never by hand."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyp_monai import provenance
from polyp_monai.data import files, texts
from polyp_monai.errors import PolypError

START, END = "<!-- scores, written by `polyp card` -->", "<!-- end of scores -->"
COLUMNS = ("dice", "iou", "sensitivity", "precision", "hd95")
WORST = 3  # frames named as failures, of each run
FAILURES = "docs/failures"  # folder of their pictures, 1.jpg ...
SIDE = 480  # pixels of a picture's longer side
TRUTH, PREDICTION = (0, 255, 0), (255, 255, 0)


def fill(root: Path, runs: Sequence[Path], pictures: bool = False) -> list[str]:
    """Write the scores of `runs`, the first one first, into the card and the metadata of the bundle in `root`.

    Args:
        runs: folders that `polyp evaluate` wrote, with the weights that the bundle holds now.
        pictures: also put pictures of the worst frames beside the card; those of an earlier time go in any case.

    Returns:
        The lines of the card's table.

    Raises:
        PolypError: a folder is no run, was of other weights, has no frame with a polyp, or its pictures have gone;
            nothing is written then.
    """
    weights = root / "models/model.pt"
    if not weights.is_file():
        raise PolypError(f"{weights}: no such weights; a card speaks of weights")
    digest = provenance.digest(weights)
    summaries = [_read(Path(run), digest) for run in runs]
    metadata = texts.read_json(root / "configs/metadata.json", "metadata", "copy it from a shipped bundle")
    metadata["eval_metrics"] = _metrics(summaries)
    worst = [_worst(Path(run)) for run in runs]
    lines = _lines(summaries, worst, pictures)
    thresholds = [float(summary["run"].get("threshold") or 0.5) for summary in summaries]
    pairs = zip(worst, thresholds, strict=True)
    drawn = [_drawn(row, threshold) for rows, threshold in pairs for row in rows] if pictures else []
    card = root / "docs/README.md"
    text = _replaced(texts.read_text(card), lines)
    for old in (root / FAILURES).glob("*.jpg"):
        old.unlink()
    for number, content in enumerate(drawn, 1):
        (root / FAILURES).mkdir(exist_ok=True)
        (root / FAILURES / f"{number}.jpg").write_bytes(content)
    files.write_text(card, text)
    files.write_text(
        root / "configs/metadata.json", json.dumps(metadata, indent=4, ensure_ascii=False, allow_nan=False) + "\n"
    )
    return lines


def _read(run: Path, digest: str) -> dict[str, Any]:
    path = run / "summary.json"
    if not path.is_file():
        raise PolypError(f"{run}: is no run; give a folder that `polyp evaluate` wrote")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        found, count = summary["run"].get("weights_sha256"), summary["frames_with_polyp"]["count"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PolypError(f"{path}: cannot be read; evaluate again") from error
    if found != digest:
        raise PolypError(f"{run}: was evaluated with other weights than the bundle holds; evaluate again")
    if not count:
        raise PolypError(f"{run}: has no frame with a polyp, so no score for a card")
    return summary


def _title(summary: dict[str, Any]) -> str:
    run = summary["run"]
    data = Path(str(run.get("dataset", ""))).name
    tta = (run.get("settings") or {}).get("tta", run.get("tta"))
    return f"{data} {run.get('split', '')}".strip() + (f", {tta}" if tta not in (None, "none", False) else "")


def _metrics(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first run's means, and each further run's under its data's name."""

    def means(summary: dict[str, Any]) -> dict[str, float]:
        mean = summary["frames_with_polyp"]["mean"]
        return {f"mean_{name}": round(mean[name], 4) for name in COLUMNS if mean.get(name) is not None}

    return means(summaries[0]) | {_title(summary): means(summary) for summary in summaries[1:]}


def _lines(summaries: Sequence[dict[str, Any]], worst: Sequence[list[dict[str, str]]], pictures: bool) -> list[str]:
    lines = ["| scored on | frames | Dice (95 % interval) | IoU | sensitivity | precision | HD95 | missed wholly |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    failures: list[str] = []
    shown: list[str] = []
    for summary, rows in zip(summaries, worst, strict=True):
        polyps = summary["frames_with_polyp"]
        mean, (low, high) = polyps["mean"], polyps["interval"].get("dice") or (None, None)
        interval = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
        cells = [_title(summary), str(polyps["count"]), f"{mean['dice']:.3f}{interval}"]
        cells += [f"{mean[name]:.3f}" if mean.get(name) is not None else "" for name in COLUMNS[1:-1]]
        cells.append(f"{mean['hd95']:.0f} px" if mean.get("hd95") is not None else "")
        cells.append(f"{polyps['missed']} of {polyps['count']}")
        lines.append(f"| {' | '.join(cells)} |")
        for row in rows:
            failures.append(f"- {_title(summary)}: frame `{row['name']}`, Dice {float(row['dice']):.3f}")
            shown.append(f"![{_title(summary)}: frame {row['name']}](failures/{len(shown) + 1}.jpg)")
        negatives = summary.get("frames_without_polyp") or {}
        if negatives.get("frames"):
            empty = f"{negatives['left_empty']} of {negatives['frames']}"
            failures.append(f"- {_title(summary)}: {empty} frames without a polyp stay empty")
    if pictures and shown:
        failures += ["", "Green the annotation, yellow the prediction; these frames carry the terms of their data.", ""]
        failures += shown
    return [*lines, "", "Where it fails most:", "", *failures] if failures else lines


def _worst(run: Path) -> list[dict[str, str]]:
    """The rows of the frames with the lowest Dice."""
    path = run / "frames.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("dice") and int(row.get("polyp_pixels") or 0)]
    rows.sort(key=lambda row: float(row["dice"]))
    return rows[:WORST]


def _drawn(row: dict[str, str], threshold: float) -> bytes:
    """A frame with both outlines, as JPEG."""
    import cv2

    from polyp_monai.data.overlay import draw_contour

    if gone := [key for key in ("image", "truth", "prediction") if not Path(row.get(key) or "-").is_file()]:
        raise PolypError(f"frame {row['name']}: its {gone[0]} is no longer there; evaluate again")
    frame = files.read_rgb(row["image"])
    frame = draw_contour(frame, files.read_mask(row["truth"]), TRUTH)
    frame = draw_contour(frame, (files.read_map(row["prediction"], dim=True) >= threshold).astype("uint8"), PREDICTION)
    scale = min(1.0, SIDE / max(frame.shape[:2]))
    size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()


def _replaced(card: str, lines: Sequence[str]) -> str:
    """The card with `lines` between its marks; without marks, below its heading Performance, else at its end."""
    block = "\n".join([START, "", *lines, "", END])
    if START in card and END in card:
        before, _, rest = card.partition(START)
        return before + block + rest.partition(END)[2]
    heading = re.search(r"^## Performance\n", card, flags=re.MULTILINE)
    if heading:
        return f"{card[: heading.end()]}\n{block}\n{card[heading.end() :]}"
    return f"{card.rstrip()}\n\n## Performance\n\n{block}\n"
