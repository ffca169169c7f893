"""The polyps of one frame: connected regions of its probability map, with box, area, confidence and outline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from polyp_monai.metrics.classes import Classes, means, of_polyp
from polyp_monai.metrics.lesions import components

MIN_AREA_SHARE = 0.0005  # of the view: 62 pixels of a image size of 352 x 352, 26 x 26 of a frame of 1280 x 1024


@dataclass(frozen=True, eq=False)
class Polyp:
    """One connected region of a frame, in pixels of the frame.

    Attributes:
        box: x0, y0, x1, y1; x1 and y1 are the first beyond.
        area: in pixels.
        confidence: mean probability within, 0..1.
        outline: (n, 2) int32 x, y; the outer one, holes are not in it.
        means: of several classes, the mean probability of each within.
        class_name: its class, or "uncertain"; "polyp" where the bundle tells no classes apart.
        class_probability: of the likeliest class among the classes, 0..1.
    """

    box: tuple[float, float, float, float]
    area: float
    confidence: float
    outline: np.ndarray = field(repr=False)
    means: tuple[float, ...] = field(default=(), repr=False)
    class_name: str = "polyp"
    class_probability: float = 1.0


def find_polyps(
    probability: np.ndarray,
    threshold: float,
    view: tuple[int, int, int, int],
    min_area_share: float = MIN_AREA_SHARE,
    classes: Classes | None = None,
    by_class: np.ndarray | None = None,
) -> list[Polyp]:
    """The 8-connected regions where the probability reaches `threshold`, largest first.

    Outlines are drawn on the map enlarged to the size of the frame: they run between the map's pixels and have no
    steps. They lie at `threshold` itself, as the masks of `polyp predict` do.

    Args:
        probability: (h, w) 0..1, which covers `view`, stretched; or (C, h, w), a channel a class.
        view: x0, y0, x1, y1 in pixels of the frame.
        min_area_share: regions below this share of the view, 0..1, are left out.
        classes: what the polyps' classes are called; without, of several classes their `means` alone are told.
        by_class: (C, h, w) 0..1, where `probability` is that of a polyp of any class.
    """
    if probability.ndim == 3:
        by_class, probability = (probability if len(probability) > 1 else None), of_polyp(probability)
    height, width = probability.shape
    scale = np.array([(view[2] - view[0]) / width, (view[3] - view[1]) / height])
    least = min_area_share * probability.size
    inside = (probability >= threshold).view(np.uint8)
    left, top, wide, high = cv2.boundingRect(inside)
    if not wide:
        return []
    # only where there is anything, and the pixel around it: an eighth of the time for a polyp of usual size
    x, y = max(left - 1, 0), max(top - 1, 0)
    part = slice(y, top + high + 1), slice(x, left + wide + 1)
    probability, origin = probability[part], view[:2] + scale * (x, y)
    regions = components(inside[part])
    within = means(regions.labels, by_class[(slice(None), *part)]) if by_class is not None else np.empty(0)
    found = []
    for label, ((x0, y0, x1, y1), area) in enumerate(zip(regions.boxes.tolist(), regions.areas, strict=True), start=1):
        if area < least:
            continue
        own = slice(y0, y1), slice(x0, x1)
        confidence = float(probability[own][regions.labels[own] == label].mean())
        corners = np.array([[x0, y0], [x1, y1]])
        outline = _outline(probability, threshold, regions.labels, label, corners, scale, origin)
        box = tuple((corners * scale + origin).ravel().tolist())
        polyp = Polyp(box, float(area * scale.prod()), confidence, outline)
        if by_class is not None:
            polyp = replace(polyp, means=tuple(within[label - 1].tolist()))
            polyp = polyp if classes is None else classed(polyp, polyp.means, classes)
        found.append(polyp)
    return sorted(found, key=rank)


def classed(polyp: Polyp, within: tuple[float, ...], classes: Classes) -> Polyp:
    """The polyp with the class that these means of the classes' probabilities within it say."""
    name, probability = classes.of(within)
    return replace(polyp, means=within, class_name=name, class_probability=probability)


def rank(polyp: Polyp) -> tuple:
    """Largest first; of equal size by place, so that their order changes no number."""
    return -polyp.area, *polyp.box


def _outline(
    probability: np.ndarray,
    threshold: float,
    labels: np.ndarray,
    label: int,
    corners: np.ndarray,
    scale: np.ndarray,
    origin: np.ndarray,
) -> np.ndarray:
    """Outline of one region, (n, 2) int32 x, y of the source frame; its box where nothing is left to outline."""
    (x0, y0), (x1, y1) = np.clip(corners + [[-1], [1]], 0, probability.shape[::-1])  # the edge lies between two pixels
    part, owner = probability[y0:y1, x0:x1], labels[y0:y1, x0:x1]
    others = (owner != label) & (owner != 0)
    if others.any():
        part = np.where(others, np.float32(0), part)
    start, end = np.rint([[x0, y0], [x1, y1]] * scale + origin).astype(int)
    enlarged = cv2.resize(part, np.maximum(end - start, 1).tolist(), interpolation=cv2.INTER_LINEAR)
    inside = (enlarged >= threshold).view(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:  # a speck on a frame that is smaller than the map
        left, top, right, bottom = np.rint(corners * scale + origin).ravel()
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
    return max(contours, key=cv2.contourArea)[:, 0] + np.int32(start)
