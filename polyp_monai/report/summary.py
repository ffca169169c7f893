"""summary.json of a run as tiles, cards and sentences. A part that was not measured gives nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyp_monai.metrics import registry
from polyp_monai.metrics.lesions import RULES
from polyp_monai.report.parts import Card, Fact, Table, Tile, percent, show

Summary = Mapping[str, Any]
LABELS = {  # of keys that are no metric
    "iou_50": "IoU ≥\u00a00.5",
    "iou_30": "IoU ≥\u00a00.3",
    "centre": "centre hit",
    "datalist_sha256": "data list's sha256",
    "weights_sha256": "weights' sha256",
    "small": "≤\u00a0100²\u00a0px",
    "medium": "≤\u00a0200²\u00a0px",
    "large": ">\u00a0200²\u00a0px",
    "mean": "mean of .25:.05:.75",
}
FAMILIES = {
    "mean_over_images": (
        "Mean over images",
        "Each frame with a polyp counts the same: the mean to compare by. Beside it: masks of one value.",
    ),
    "pooled_over_pixels": ("Pooled over pixels", "All frames are one big image, so that large polyps rule."),
    "macro_with_background": (
        "Background + polyp macro",
        "Half of it is the background, which is nearly always right: compare with the baselines, not with the others.",
    ),
}


def label(key: str) -> str:
    """A key of summary.json in words."""
    return LABELS.get(key) or registry.get(key).label.replace(" %", "\u00a0%")


def headline(summary: Summary) -> list[Tile]:
    """The metrics that matter first."""
    polyps, negatives = _with_polyp(summary), _without_polyp(summary)
    tiles = [
        Tile(f"mean {metric.label}", metric.text(value), _interval(polyps, metric))
        for metric in registry.shown("headline")
        if (value := (polyps.get("mean") or {}).get(metric.name)) is not None
    ]
    if polyps.get("count"):
        tiles.append(Tile("missed polyps", show(polyps.get("missed")), f"of {polyps['count']} frames with a polyp"))
    if negatives.get("frames"):
        tiles.append(
            Tile("negatives left empty", show(negatives.get("left_empty")), f"of {negatives['frames']} without a polyp")
        )
    return tiles


def _with_polyp(summary: Summary) -> Summary:
    return summary.get("frames_with_polyp") or {}


def _without_polyp(summary: Summary) -> Summary:
    return summary.get("frames_without_polyp") or {}


def _interval(polyps: Summary, metric: registry.Metric) -> str:
    low, high = (polyps.get("interval") or {}).get(metric.name) or (None, None)
    return f"{metric.text(low)} to {metric.text(high)}" if low is not None and high is not None else "no interval"


def basis(summary: Summary) -> str:
    """What the headline's intervals rest on."""
    polyps = _with_polyp(summary)
    if not polyps.get("interval"):
        return ""
    groups = f" over {polyps['groups']} groups" if polyps.get("groups") else ""
    return f"Intervals of {percent(polyps.get('level') or 0.95)} by bootstrap{groups}."


def leak(summary: Summary) -> str:
    """What the split audit found, in a sentence."""
    found = summary.get("leakage")
    if not found:
        return ""
    text = (
        f"{found['similar_in_training']} of {found['test']} test frames ({percent(found['share'], 1)}) have a near "
        f"neighbour in training ({found['by_group']} of the same group, {found['by_similarity']} by similarity, "
        f"{found.get('by_weights', 0)} that the weights were trained on); the limit is {percent(found['limit'])}."
    )
    if found.get("copy_mask_dice") is not None:
        text += " Copying the mask of the most similar training image, without any learning, scores Dice "
        text += f"{show(found['copy_mask_dice'])} and IoU {show(found.get('copy_mask_iou'))}."
    return text


def leakage(summary: Summary) -> list[Card]:
    """`leak` as a card."""
    text = leak(summary)
    return [Card("Leakage", text=text)] if text else []


def what_was_run(summary: Summary) -> list[Card]:
    """Bundle, data, settings, versions."""
    facts = []
    for key, value in (summary.get("run") or {}).items():
        if value is None or value == {}:
            continue
        words = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        text = f"{words}" if isinstance(words, float) else show(words)
        facts.append(Fact(label(key), text, key in ("command", "weights_sha256", "datalist_sha256")))
    return [Card(facts=facts)] if facts else []


def all_means(summary: Summary) -> list[Card]:
    """Every mean over the frames with a polyp, and how frames without one were treated."""
    polyps, negatives = _with_polyp(summary), _without_polyp(summary)
    means = {key: value for key, value in (polyps.get("mean") or {}).items() if value is not None}
    cards = []
    if means:
        lead = f"{polyps['count']} frames; {show(polyps.get('missed'))} missed wholly (Dice 0)"
        if "hd95" in means:
            lead += f", {show(polyps.get('without_hd95'))} without HD95, which its mean leaves out"
        metrics = [(registry.get(key), value) for key, value in means.items()]
        rows = [(f"{m.label}\u00a0{m.arrow}", m.text(value), _interval(polyps, m)) for m, value in metrics]
        lead += "; ↑ higher is better, ↓ lower."
        cards.append(Card("Frames with a polyp", lead, table=Table(("metric", "mean", "interval"), rows)))
    if negatives.get("frames"):
        pairs = [(label(key), value) for key, value in negatives.items()]
        lead = "They have no Dice. Specificity is the share left empty; the area is that of the false alarms, of 1."
        cards.append(Card("Frames without a polyp", lead, table=Table(("metric", "value"), pairs)))
    return cards


def families(summary: Summary) -> list[Card]:
    """The three means that papers all call Dice or IoU, with what a mask of one value scores."""
    cards = []
    for key, scores in (summary.get("families") or {}).items():
        title, lead = FAMILIES.get(key, (label(key), ""))
        names = [name for name in scores if not name.endswith(("_all_background", "_all_foreground"))]
        ends = ("", "_all_background", "_all_foreground")
        rows = [(label(name), *(scores.get(name + end) for end in ends)) for name in names]
        cards.append(Card(title, lead, table=Table(("", "this run", "all back\u00adground", "all polyp"), rows)))
    return cards


def pranet(summary: Summary) -> list[Card]:
    """The metrics of the PraNet protocol."""
    scores = summary.get("pranet")
    if not scores:
        return []
    stretched = (summary.get("run") or {}).get("normalize")
    lead = f"Maps were {'' if stretched else 'not '}stretched to 0..1 first; papers stretch them."
    metrics = [(registry.get(key), value) for key, value in scores.items()]
    rows = [(f"{metric.label}\u00a0{metric.arrow}", value) for metric, value in metrics]
    return [Card("PraNet protocol", lead, table=Table(("metric", "value"), rows))]


def lesions(summary: Summary) -> list[Card]:
    """Polyps found and false alarms, by rule and by size."""
    found = summary.get("lesions")
    if not found:
        return []
    rules = [rule for rule in RULES if found.get(rule)]
    names = list(found[rules[0]]) if rules else []
    rows = [(label(name), *(found[rule].get(name) for rule in rules)) for name in names]
    lead = "A polyp is found by its IoU with a predicted area, or when that area's centre of mass lies in it."
    table = Table(("", *map(label, rules)), rows)
    cards = [Card("Found and falsely marked", lead, table=table)] if rows else []
    classes = {**(found.get("by_size") or {}), **(found.get("by_share") or {})}
    rows = [(label(name), recalls.get("polyps"), *map(recalls.get, RULES)) for name, recalls in classes.items()]
    if rows:
        lead = "Polyps by their area in pixels, and by their share of the image."
        cards.append(Card("Recall by size", lead, table=Table(("", "polyps", *map(label, RULES)), rows)))
    if precisions := found.get("average_precision"):
        rows = [(label(key), value) for key, value in precisions.items()]
        cards.append(Card("Average precision", table=Table(("IoU at least", "average precision"), rows)))
    return cards


def subsets(summary: Summary) -> list[Card]:
    """Means over the frames of each tag."""
    tagged = summary.get("subsets")
    if not tagged:
        return []
    names = list(dict.fromkeys(name for scores in tagged.values() for name in scores))
    rows = [(tag, *(scores.get(name) for name in names)) for tag, scores in tagged.items()]
    return [Card("Subsets", table=Table(("tag", *map(label, names)), rows))]


def promises(summary: Summary) -> list[Card]:
    """What `polyp calibrate` promised and what is reached."""
    named = {
        "missed": "missed share of a polyp's pixels",
        "false_alarms": "negatives with a false alarm",
        "wrong_class": "polyps of a wrong class",
    }
    rows = [
        (named[kind], found["alpha"], found["on_calibration"], found["here"])
        for kind, found in (summary.get("promises") or {}).items()
    ]
    table = Table(("", "promised at most", "on the calibration split", "here"), rows)
    return [Card("Promises", "Shares that were promised of these weights.", table=table)] if rows else []
