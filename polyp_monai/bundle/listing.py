"""The table of `polyp bundles`: what is known of each shipped bundle, from its metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polyp_monai.bundle.locate import shipped

HEADER = ("bundle", "parameters", "GMACs", "images/s", "published Dice", "measured Dice", "weights")
NOTE = """GMACs and images/s: one 352 x 352 frame; images/s on 2 CPU cores, PyTorch, channels_last.
Dice: mean over the 120 test frames of Kvasir-SEG official; measured in the CPU budget that the model card names."""


def table() -> list[str]:
    """One line a bundle, and what the columns mean."""
    rows = [HEADER, *(_row(name) for name in shipped())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = []
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    return [*lines, "", NOTE]


def facts() -> list[dict[str, Any]]:
    """What the table shows, a dictionary a bundle; None where it is not known."""
    found = []
    for name, root in shipped().items():
        metadata = _metadata(root)
        scores, scores = metadata.get("network_stats", {}), metadata.get("eval_metrics", {})
        known = {key: scores.get(key) for key in ("parameters", "gmacs_352", "cpu_images_per_second_352")}
        dice = {"published_dice": scores.get("published_dice"), "measured_dice": scores.get("mean_dice")}
        found.append({"bundle": name, **known, **dice, "weights": (root / "models/model.pt").is_file()})
    return found


def _metadata(root: Path) -> dict[str, Any]:
    return json.loads((root / "configs/metadata.json").read_text(encoding="utf-8"))


def _row(name: str) -> tuple[str, ...]:
    root = shipped()[name]
    metadata = _metadata(root)
    scores = metadata.get("network_stats", {})
    return (
        name,
        f"{scores['parameters'] / 1e6:.2f} M" if "parameters" in scores else "-",
        *(f"{scores[key]:.1f}" if scores.get(key) else "-" for key in ("gmacs_352", "cpu_images_per_second_352")),
        scores.get("published_dice", "-"),
        f"{metadata['eval_metrics']['mean_dice']:.3f}" if "eval_metrics" in metadata else "-",
        "shipped" if (root / "models/model.pt").is_file() else "-",
    )
