"""What a prediction is in an answer: JSON, or a PNG."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from polyp_monai.api import Prediction
from polyp_monai.data import files
from polyp_monai.data.classes import COLORS, hexadecimal
from polyp_monai.data.overlay import OUTLINE
from polyp_monai.metrics.classes import UNCERTAIN, Classes
from polyp_monai.metrics.lesions import size_class
from polyp_monai.metrics.regions import Polyp
from polyp_monai.video.tracking import TrackedPolyp

PNG = "data:image/png;base64,"
CHEAP = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def frame(prediction: Prediction, name: str, probability: bool) -> dict[str, Any]:
    """One entry of `results`; `probability` adds the map, 8 bits at native size, 255 for 1.0."""
    width, height = prediction.size
    found = {
        "name": name,
        "width": width,
        "height": height,
        "threshold": float(prediction.threshold),
        "polyps": [_polyp(number, polyp, width * height) for number, polyp in enumerate(prediction.polyps, 1)],
    }
    if probability:
        found["probability"] = _map(prediction.probability)
        if (maps := prediction.class_probabilities) is not None:
            found["classes"] = _classes(prediction.classes, maps)
    return found


def _classes(classes: Classes, maps: np.ndarray) -> dict[str, Any]:
    """The maps of several classes, and what a polyp is called whose class is in doubt."""
    of = [
        {"name": name, "color": hexadecimal(color), "probability": _map(own)}
        for name, color, own in zip(classes.names, COLORS, maps, strict=False)
    ]
    doubt = {"name": UNCERTAIN, "color": hexadecimal(OUTLINE)}
    return {"of": of, "certainty": classes.certainty, "uncertain": doubt}


def _map(probability: np.ndarray) -> str:
    return PNG + base64.b64encode(_encoded((probability * 255).round().astype(np.uint8))).decode()


def png(prediction: Prediction, view: str) -> bytes:
    """The mask (0 and 255), the probability (0 to 255), the frame, or it with the outline, at native size, upright."""
    if view == "mask":
        numbers = prediction.class_map
        return files.encode_mask(prediction.mask) if numbers is None else files.encode_indices(numbers)
    if view == "probability":
        return _encoded((prediction.probability * 255).round().astype(np.uint8))
    pixels = prediction.image if view == "image" else prediction.plot()
    return _encoded(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def tracked(polyps: Sequence[TrackedPolyp]) -> list[dict[str, Any]]:
    """The polyps of a frame of a video, by their numbers."""
    return [{"id": polyp.number, "seen": polyp.seen, **_place(polyp)} for polyp in polyps]


def jpeg(pixels: np.ndarray) -> bytes:
    """(H, W, 3) RGB as a viewer gets it many times a second."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 85))
    return encoded.tobytes()


def _polyp(number: int, polyp: Polyp, pixels: int) -> dict[str, Any]:
    about = {"number": number, "area": round(polyp.area), "share": polyp.area / pixels}
    return about | {"size": size_class(polyp.area), **_place(polyp)}


def _place(polyp: Polyp) -> dict[str, Any]:
    x0, y0, x1, y1 = (round(side, 1) for side in polyp.box)
    told: dict[str, Any] = {}
    if polyp.means:
        color = OUTLINE if polyp.class_name == UNCERTAIN else COLORS[int(np.argmax(polyp.means))]
        told = {"class": polyp.class_name, "class_probability": round(polyp.class_probability, 4)}
        told |= {"color": hexadecimal(color)}
    return {
        "box": [x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)],
        "confidence": round(polyp.confidence, 4),
        "polygons": [polyp.outline.tolist()],
        **told,
    }


def _encoded(pixels: np.ndarray) -> bytes:
    _, encoded = cv2.imencode(".png", pixels, CHEAP)
    return encoded.tobytes()
