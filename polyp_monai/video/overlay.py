"""What is drawn into a frame: outline, box, number and confidence of each polyp, and the heat map."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from polyp_monai.data.classes import COLORS
from polyp_monai.data.overlay import OUTLINE
from polyp_monai.metrics.classes import UNCERTAIN
from polyp_monai.video.tracking import TrackedPolyp

YELLOW, BLACK = OUTLINE, (0, 0, 0)


def draw(image: np.ndarray, polyps: Sequence[TrackedPolyp]) -> None:
    """Draw into the (H, W, 3) RGB image. Lines are about 0.3 % of its width thick."""
    thick = max(1, round(image.shape[1] / 400))
    for polyp in polyps:
        x0, y0, x1, y1 = (round(v) for v in polyp.box)
        color, text = YELLOW, f"polyp {polyp.number}  {polyp.confidence:.0%}"
        if polyp.means:  # of several classes
            color = COLORS[int(np.argmax(polyp.means))] if polyp.class_name != UNCERTAIN else YELLOW
            text += f"  {polyp.class_name} {polyp.class_probability:.0%}"
        if polyp.seen:  # else the outline is of an earlier frame
            cv2.polylines(image, [polyp.outline], True, color, thick + 1)
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), color, 1)
        _label(image, text, x0, y0, color)


def _label(image: np.ndarray, text: str, x: int, y: int, color: tuple[int, int, int]) -> None:
    """Black on `color`, above (x, y), moved to stay inside the image."""
    scale = max(0.4, image.shape[1] / 1600)
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = max(0, min(x, image.shape[1] - width - 4))
    y = max(y, height + base + 4)
    cv2.rectangle(image, (x, y - height - base - 4), (x + width + 4, y), color, cv2.FILLED)
    cv2.putText(image, text, (x + 2, y - base), cv2.FONT_HERSHEY_SIMPLEX, scale, BLACK, 1, cv2.LINE_AA)


def heat(image: np.ndarray, probability: np.ndarray, view: tuple[int, int, int, int]) -> None:
    """Tint the rectangle `view` of the (H, W, 3) RGB image by the (h, w) probability 0..1, transparent at 0."""
    x0, y0, x1, y1 = view
    part = image[y0:y1, x0:x1]
    weight = cv2.resize((probability * 160).astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    color = cv2.applyColorMap(cv2.convertScaleAbs(weight, alpha=255 / 160), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = cv2.merge([weight] * 3)
    blended = cv2.multiply(part, cv2.bitwise_not(alpha), scale=1 / 255)
    part[:] = cv2.add(blended, cv2.multiply(color, alpha, scale=1 / 255))
