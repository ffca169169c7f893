"""The summary's figures as HTML: cards, tables and sentences. A part that was not measured gives an empty string."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from polyp_monai.metrics.lesions import RULES

Summary = Mapping[str, Any]
LABELS = {
    "dice": "Dice",
    "iou": "IoU",
    "f2": "F2",
    "f1": "F1",
    "hd95": "HD95, px",
    "surface_dice": "surface Dice (NSD)",
    "mae": "MAE",
    "mean_dice": "mean Dice over 256 thresholds",
    "max_dice": "maximum Dice",
    "mean_iou": "mean IoU over 256 thresholds",
    "max_iou": "maximum IoU",
    "mean_e": "mean E-measure",
    "max_e": "maximum E-measure",
    "weighted_f": "weighted F-measure",
    "s_measure": "S-measure",
    "dice_both_channels": "Dice, both channels",
    "iou_both_channels": "IoU, both channels",
    "iou_50": "IoU ≥\u00a00.5",
    "iou_30": "IoU ≥\u00a00.3",
    "centre": "centre hit",
    "false_positives_per_image": "false positives / image",
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
        "Each frame with a polyp counts the same: the figure to compare by. Beside it: masks of one value.",
    ),
    "pooled_over_pixels": ("Pooled over pixels", "All frames are one big image, so that large polyps rule."),
    "macro_with_background": (
        "Background + polyp macro",
        "Half of it is the background, which is nearly always right: compare with the baselines, not with the others.",
    ),
}


def label(key: str) -> str:
    """A key of summary.json in words."""
    return LABELS.get(key, key.replace(" %", "\u00a0%").replace("_", " "))


def show(value: Any) -> str:
    """A number with three digits, a count or a word as it is; "-" for what was not measured."""
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else f"{value}"


def percent(share: float, digits: int = 0) -> str:
    """A share of 1 as the house writes it: 2.5 %."""
    return f"{100 * share:.{digits}f}\u00a0%"


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The first column is text, the others are numbers; everything is escaped here."""
    classes = ["", *[' class="n"'] * (len(heads) - 1)]
    head = "".join(f"<th{c}>{escape(text)}</th>" for c, text in zip(classes, heads, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{c}>{escape(show(v))}</td>" for c, v in zip(classes, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def card(content: str, title: str = "", lead: str = "") -> str:
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="card">{heading}{f"<p class=soft>{escape(lead)}</p>" if lead else ""}{content}</div>'


def headline(summary: Summary) -> str:
    """Cards of the figures that matter first."""
    polyps, negatives = summary.get("frames_with_polyp") or {}, summary.get("frames_without_polyp") or {}
    tiles = []
    for key in ("dice", "iou", "sensitivity", "precision"):
        if (value := (polyps.get("mean") or {}).get(key)) is not None:
            tiles.append((f"mean {label(key)}", show(value), _interval(polyps, key)))
    if polyps.get("count"):
        tiles.append(("missed polyps", show(polyps.get("missed")), f"of {polyps['count']} frames with a polyp"))
    if negatives.get("frames"):
        tiles.append(("negative frames left empty", show(negatives.get("left_empty")), f"of {negatives['frames']}"))
    return "".join(
        f'<div class="card tile"><span>{escape(name)}</span><b>{value}</b><span class="soft">{note}</span></div>'
        for name, value, note in tiles
    )


def _interval(polyps: Summary, key: str) -> str:
    low, high = (polyps.get("interval") or {}).get(key) or (None, None)
    return f"{show(low)} to {show(high)}" if low is not None and high is not None else "no interval"


def basis(summary: Summary) -> str:
    """What the headline's intervals rest on."""
    polyps = summary.get("frames_with_polyp") or {}
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


def leakage(summary: Summary) -> str:
    text = leak(summary)
    return card(f"<p>{escape(text)}</p>", "Leakage") if text else ""


def what_was_run(summary: Summary) -> str:
    rows = []
    for key, value in (summary.get("run") or {}).items():
        if value is None or value == {}:
            continue
        words = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        text = escape(f"{words}" if isinstance(words, float) else show(words))
        code = f"<code>{text}</code>" if key in ("command", "weights_sha256", "datalist_sha256") else text
        rows.append(f"<dt>{escape(label(key))}</dt><dd>{code}</dd>")
    return card(f"<dl>{''.join(rows)}</dl>") if rows else ""


def all_means(summary: Summary) -> str:
    """Every mean over the frames with a polyp, and how frames without one were treated."""
    polyps, negatives = summary.get("frames_with_polyp") or {}, summary.get("frames_without_polyp") or {}
    means = {key: value for key, value in (polyps.get("mean") or {}).items() if value is not None}
    split_of = []
    if means:
        lead = f"{polyps['count']} frames; {show(polyps.get('missed'))} missed wholly (Dice 0)"
        lead += (
            f", {show(polyps.get('without_hd95'))} without HD95, which its mean leaves out." if "hd95" in means else "."
        )
        rows = [(label(key), value, _interval(polyps, key)) for key, value in means.items()]
        split_of.append(card(table(("figure", "mean", "interval"), rows), "Frames with a polyp", lead))
    if negatives.get("frames"):
        pairs = [(label(key), value) for key, value in negatives.items()]
        lead = "They have no Dice. Specificity is the share left empty; the area is that of the false alarms, of 1."
        split_of.append(card(table(("figure", "value"), pairs), "Frames without a polyp", lead))
    return "".join(split_of)


def families(summary: Summary) -> str:
    """The three means that papers all call Dice or IoU, with what a mask of one value scores."""
    cards = []
    for key, figures in (summary.get("families") or {}).items():
        title, lead = FAMILIES.get(key, (label(key), ""))
        names = [name for name in figures if not name.endswith(("_all_background", "_all_foreground"))]
        ends = ("", "_all_background", "_all_foreground")
        rows = [(label(name), *(figures.get(name + end) for end in ends)) for name in names]
        cards.append(card(table(("", "this run", "all back\u00adground", "all polyp"), rows), title, lead))
    return "".join(cards)


def pranet(summary: Summary) -> str:
    figures = summary.get("pranet")
    if not figures:
        return ""
    stretched = (summary.get("run") or {}).get("normalize")
    lead = f"Maps were {'' if stretched else 'not '}stretched to 0..1 first; figures of papers are with stretching."
    rows = ((label(key), value) for key, value in figures.items())
    return card(table(("figure", "value"), rows), "PraNet protocol", lead)


def lesions(summary: Summary) -> str:
    """Polyps found and false alarms, by rule and by size."""
    found = summary.get("lesions")
    if not found:
        return ""
    rules = [rule for rule in RULES if found.get(rule)]
    names = list(found[rules[0]]) if rules else []
    rows = [(label(name), *(found[rule].get(name) for rule in rules)) for name in names]
    lead = "A polyp is found by its IoU with a predicted area, or when that area's centre of mass lies in it."
    split_of = [card(table(("", *map(label, rules)), rows), "Found and falsely marked", lead)] if rows else []
    classes = {**(found.get("by_size") or {}), **(found.get("by_share") or {})}
    rows = [(label(name), figures.get("polyps"), *map(figures.get, RULES)) for name, figures in classes.items()]
    if rows:
        lead = "Polyps by their area in pixels, and by their share of the image."
        split_of.append(card(table(("", "polyps", *map(label, RULES)), rows), "Recall by size", lead))
    if precisions := found.get("average_precision"):
        rows = [(label(key), value) for key, value in precisions.items()]
        split_of.append(card(table(("IoU at least", "average precision"), rows), "Average precision"))
    return "".join(split_of)


def subsets(summary: Summary) -> str:
    tagged = summary.get("subsets")
    if not tagged:
        return ""
    names = list(dict.fromkeys(name for figures in tagged.values() for name in figures))
    rows = [(tag, *(figures.get(name) for name in names)) for tag, figures in tagged.items()]
    return card(table(("tag", *map(label, names)), rows), "Subsets")


def risk(summary: Summary) -> str:
    """What conformal risk control promised and what it reached."""
    chosen = summary.get("risk")
    if not chosen:
        return ""
    rows = ((label(key), value) for key, value in chosen.items())
    return card(table(("", "value"), rows), "Risk control", "The share of missed polyp pixels that was promised.")
