"""Colonoscopy-like frames with exact masks: enough to try every step of the toolkit without a download.

A scene is a wall seen along the bowel: albedo (mucosa, vessels) times light (folds receding to the lumen, relief of
wall and polyps), plus highlights. It is drawn on a canvas larger than the frame, so that the views of one sequence are
small camera movements over the same canvas. Coordinates: origin in the middle of the frame, half its short side is 1.
Fields are float32; "share" is a share of the frame's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.coding import Coding
from data_prep.pair import Pair
from data_prep.progress import in_parallel
from polyp_monai.data import files

Rng = np.random.Generator

MARGIN = 1.2  # canvas side / frame side: room for the camera to move
NEGATIVE_EVERY = 8  # one sequence in so many has no polyp; counted, not drawn, so that small sets have some


@dataclass(frozen=True)
class DrawnPolyp:
    """One polyp: `shape` of SHAPES, `area` as a share of the frame (before clipping), `centre` (x, y)."""

    shape: str
    area: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class _Form:
    """How a shape looks: height over radius, profile (1 - rho^power)^root, outline, edge width, contrasts."""

    height: float
    power: float
    root: float
    irregular: float
    edge: float
    tint: float
    shadow: float
    own_light: float  # 0: lit as the wall behind it, 1: stands in front of it


_FORMS = {
    "round": _Form(1.0, 2.0, 0.5, 0.05, 0.05, 1.0, 0.6, 1.0),
    "sessile": _Form(0.75, 2.0, 1.25, 0.12, 0.25, 0.85, 0.35, 1.0),
    "flat": _Form(0.16, 5.0, 1.3, 0.16, 0.3, 0.8, 0.15, 0.7),
}
SHAPES = tuple(_FORMS)
CODING = Coding(SHAPES, tuple(range(1, len(SHAPES) + 1)))


def draw_polyps(rng: Rng) -> list[DrawnPolyp]:
    """One polyp, now and then two of them apart from each other."""
    found: list[DrawnPolyp] = []
    count = 2 if rng.random() < 0.12 else 1
    for _ in range(count):
        area = float(np.clip(0.06 * np.exp(rng.normal(0, 0.8)) / count, 0.004, 0.24 / count))
        reach = 0.55 if area < 0.015 else 0.8  # the large may be cut by the border, the small may not
        angle, distance = rng.uniform(0, 2 * np.pi), reach * np.sqrt(rng.uniform(0.02, 1))
        if found:  # opposite the first
            angle = np.arctan2(-found[0].centre[1], -found[0].centre[0]) + rng.uniform(-0.6, 0.6)
        centre = (float(distance * np.cos(angle)), float(distance * np.sin(angle)))
        found.append(DrawnPolyp(str(rng.choice(SHAPES, p=(0.45, 0.4, 0.15))), area, centre))
    return found


def _noise(rng: Rng, like: np.ndarray, cells: float) -> np.ndarray:
    """Smooth noise (H, W) of about unit variance, `cells` bumps along the short side of the canvas."""
    height, width = like.shape
    step = min(height, width) / cells
    grid = rng.standard_normal((int(height / step) + 3, int(width / step) + 3), dtype=np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 1.3


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """y and x, (H, W) each, from -1 to 1."""
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    return np.repeat(y[:, None], width, axis=1), np.repeat(x[None], height, axis=0)


def _mucosa(rng: Rng, x: np.ndarray) -> np.ndarray:
    """Albedo (H, W, 3): pink to orange with slow changes of redness and a fine grain."""
    ends = np.array([(0.9, 0.29, 0.26), (0.95, 0.29, 0.15), (0.95, 0.39, 0.2)], np.float32)
    base = rng.dirichlet(np.ones(3)).astype(np.float32) @ ends
    redness = 0.4 * _noise(rng, x, 3) + 0.25 * _noise(rng, x, 9) + 0.12 * _noise(rng, x, 60)
    grain = 0.03 * _noise(rng, x, 90) + 0.05 * _noise(rng, x, 5)
    return base * (1 + grain[..., None] - redness[..., None] * np.array((0.03, 0.13, 0.12), np.float32))


def _folds(rng: Rng, x: np.ndarray, y: np.ndarray, bearing: float) -> tuple[np.ndarray, np.ndarray]:
    """Light (H, W) on the wall in 0..2.2 and crest (H, W) of the haustral folds in 0..1; the lumen lies at `bearing`.

    Folds lie at equal steps of log(distance from the lumen), as equal spacing does in perspective. Along a step the
    wall grows brighter up to the crest, whose edge hides the darker wall behind it.
    """
    distance = rng.uniform(0.2, 1.4)
    dx, dy = x - np.float32(distance * np.cos(bearing)), y - np.float32(distance * np.sin(bearing))
    theta = np.arctan2(dy, dx)
    bend = 0.14 * np.cos(3 * theta + rng.uniform(0, 6)) + 0.12 * np.cos(2 * theta + rng.uniform(0, 6))
    r = np.hypot(dx, dy) * np.exp(bend + 0.05 * _noise(rng, x, 4)) + 1e-3
    phase = -rng.uniform(1.2, 2.4) * np.log(r) + rng.uniform(0, 1) + 0.08 * _noise(rng, x, 4)
    index = np.clip(np.floor(phase), -8, 23).astype(np.int32) + 8
    along = np.clip(phase + 8 - index, 0, 1)
    arc = 0.55 + 0.6 * np.cos(theta - rng.uniform(0, 2 * np.pi, 32).astype(np.float32)[index])
    strength = rng.uniform(0.5, 1, 32).astype(np.float32)[index] * np.clip(arc, 0, 1)
    crest = strength * np.exp(-(((along - 0.86) / 0.1) ** 2))
    depth = r**2 / (r**2 + rng.uniform(0.25, 0.6) ** 2)
    groove = np.exp(-(((along - 0.45) / 0.2) ** 2))
    light = depth * (1 - strength * (0.75 * np.exp(-along / 0.35) + 0.2 * groove)) * (1 + 0.45 * crest)
    light *= 0.65 + 0.55 * np.minimum(r, 2)
    return light.astype(np.float32), crest.astype(np.float32)


def _vessels(rng: Rng, x: np.ndarray) -> np.ndarray:
    """Opacity (H, W) in 0..1 of branching submucosal vessels: all tips of a generation walk at once, then fork."""
    layer = np.zeros(x.shape, np.uint8)
    side = min(x.shape)
    tips = rng.uniform(0, 1, (rng.integers(6, 16), 2)) * x.shape[::-1]
    heading = rng.uniform(0, 2 * np.pi, len(tips))
    for generation in range(5):
        turns = heading[:, None] + np.cumsum(rng.normal(0, 0.3, (len(tips), 10)), axis=1)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=-1) * side * 0.016 * 0.85**generation
        lines = tips[:, None] + np.cumsum(steps, axis=1)
        thickness = max(1, round(side / 250 * 0.7**generation))
        fixed = list((lines * 16).astype(np.int32))  # 4 binary places
        cv2.polylines(layer, fixed, False, 255 - 35 * generation, thickness, cv2.LINE_AA, shift=4)
        fork = rng.uniform(0.3, 0.9, (2, len(tips))) * np.array([[1], [-1]])
        tips, heading = np.concatenate([lines[:, -1]] * 2), (turns[:, -1] + fork).ravel()
    return cv2.GaussianBlur(layer, (0, 0), side / 500).astype(np.float32) / 255


def _rho(rng: Rng, x: np.ndarray, y: np.ndarray, polyp: DrawnPolyp, share: float) -> tuple[np.ndarray, float]:
    """Distance (H, W) from the polyp's centre, 1 on its outline, and its radius; `share` is the area of one pixel."""
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.25)
    dx, dy = x - polyp.centre[0], y - polyp.centre[1]
    u, v = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    distance, degrees = cv2.cartToPolar(u / stretch, v * stretch, angleInDegrees=True)
    theta = np.deg2rad(np.arange(0, 361, 0.25, np.float32))
    wave = sum(rng.normal() / k * np.cos(k * theta + rng.uniform(0, 6)) for k in (2, 3, 4, 5, 7))
    outline = 1 + np.clip(_FORMS[polyp.shape].irregular * wave, -0.4, 0.4)
    rho = distance / outline.astype(np.float32)[(degrees * 4).astype(np.int32)]
    rank = int(polyp.area / share)
    radius = float(np.partition(rho, rank, axis=None)[rank])
    return rho / np.float32(radius), radius


def _skin(rng: Rng, x: np.ndarray, form: _Form, radius: float) -> np.ndarray:
    """Color of a polyp over that of the wall: redder, or now and then paler, with a granular pit pattern."""
    shift = np.array((0.04, -0.42, -0.32) if rng.random() < 0.92 else (0.12, 0.3, 0.36), np.float32)
    tone = 1 + form.tint * rng.uniform(0.8, 1.2) * shift
    pits = _noise(rng, x, 55) * 0.09 + _noise(rng, x, 3 / radius + 6) * 0.06
    return tone.astype(np.float32) * (1 + rng.uniform(0.6, 1.4) * pits[..., None] * np.array((0.6, 1, 1), np.float32))


@dataclass
class _Wall:
    """The wall on the canvas, layer by layer: fields (h, w), albedo (h, w, 3); relief is its height."""

    x: np.ndarray
    y: np.ndarray
    albedo: np.ndarray
    light: np.ndarray
    crest: np.ndarray
    relief: np.ndarray


def _wall(rng: Rng, x: np.ndarray, y: np.ndarray, bearing: float) -> _Wall:
    """A stretch of bowel without polyps, seen towards a lumen at the angle `bearing`."""
    light, crest = _folds(rng, x, y, bearing)
    blood = rng.uniform(0.3, 1) * np.array((0.25, 0.6, 0.5), np.float32)
    albedo = _mucosa(rng, x) * (1 - _vessels(rng, x)[..., None] * blood.astype(np.float32))
    relief = 0.04 * crest + rng.uniform(0.02, 0.06) * _noise(rng, x, 5)
    relief += 0.008 * _noise(rng, x, 14) + 0.0006 * _noise(rng, x, 70)
    return _Wall(x, y, albedo, light, crest, relief.astype(np.float32))


def _grow(rng: Rng, wall: _Wall, polyp: DrawnPolyp, share: float) -> np.ndarray:
    """Put a polyp on the wall, in place, and return its pixels (h, w) bool; `share` is the area of one pixel."""
    form = _FORMS[polyp.shape]
    rho, radius = _rho(rng, wall.x, wall.y, polyp, share)
    inside = rho < 1
    blend = np.clip((1 - rho) / form.edge, 0, 1)
    skin = wall.albedo.mean(axis=(0, 1)) * _skin(rng, rho, form, radius)
    wall.albedo += blend[..., None] * (skin - wall.albedo)
    own = float(np.clip(wall.light[inside].mean(), 0.45, 1))
    wall.light += form.own_light * inside * (own - wall.light)
    far = np.hypot(*polyp.centre) + 1e-6
    away = (wall.x * polyp.centre[0] + wall.y * polyp.centre[1]) / far - far  # the lamp is in the middle
    fall = np.exp(-np.maximum(rho - 1, 0) / 0.2) * np.clip(0.5 + 0.5 * away / radius, 0.15, 1)
    wall.light *= 1 - form.shadow * fall * ~inside
    wall.relief *= 1 - 0.85 * form.own_light * blend
    wall.relief += form.height * radius * np.clip(1 - rho**form.power, 0, 1) ** form.root
    wall.crest = np.maximum(wall.crest, np.float32(0.55) * inside)
    return inside


def _facing(wall: _Wall, half: float) -> np.ndarray:
    """Cosine (h, w) between the surface normal and the light, which sits beside the lens; `half` pixels a unit."""
    slope_y, slope_x = np.gradient(wall.relief, 1 / half)
    slope_x, slope_y = np.clip(slope_x, -3, 3), np.clip(slope_y, -3, 3)
    x, y = wall.x - np.float32(0.1), wall.y + np.float32(0.1)
    dot = 1.2 + slope_x * x + slope_y * y  # (-slope, 1) . (light - point)
    return np.clip(dot / np.sqrt((1 + slope_x**2 + slope_y**2) * (1.44 + x**2 + y**2)), 0, 1)


def _stool(rng: Rng, color: np.ndarray, light: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Yellow-brown residue in patches of the wall; never on a polyp, whose mask would then be in doubt."""
    lumps = _noise(rng, light, 3) + 0.6 * _noise(rng, light, 25)
    opacity = np.clip(2.5 * (lumps - rng.uniform(2.0, 3.0)), 0, 0.9) * ~mask
    stool = np.array((0.9, 0.55, 0.12), np.float32) * (light * (1 + 0.15 * _noise(rng, light, 50)))[..., None]
    return color + opacity[..., None] * (stool - color)


def _highlights(rng: Rng, color: np.ndarray, facing: np.ndarray, wall: _Wall) -> np.ndarray:
    """Mirror reflections of the lamp: small saturated blobs where a wet bump faces it, most on crests and domes."""
    bumps = _noise(rng, facing, 75) + 0.7 * _noise(rng, facing, 22) + 0.9 * _noise(rng, facing, 4)
    score = bumps + 1.3 * wall.crest + 4 * (facing - 0.9) + 0.6 * wall.light
    glint = np.clip(1.6 * (score - rng.uniform(3.5, 5.0)), 0, 1)[..., None]
    return color + glint * (1.3 - color)


def _scene(rng: Rng, height: int, width: int, polyps: Sequence[DrawnPolyp]) -> tuple[np.ndarray, np.ndarray]:
    """Color (h, w, 3) in 0..2 and, where polyps are, their numbers from 1, (h, w) uint8, on the canvas of a (height,
    width) frame."""
    y, x = _grid(round(height * MARGIN), round(width * MARGIN))
    half = min(height, width) / 2  # pixels a unit
    x, y = x * np.float32(width * MARGIN / 2 / half), y * np.float32(height * MARGIN / 2 / half)
    # polyps sit on the wall, so the lumen is elsewhere
    bearing = (
        np.arctan2(-polyps[0].centre[1], -polyps[0].centre[0]) + rng.uniform(-2, 2) if polyps else rng.uniform(0, 6)
    )
    wall = _wall(rng, x, y, bearing)
    numbers = np.zeros(x.shape, np.uint8)
    for number, polyp in enumerate(polyps, 1):
        numbers[_grow(rng, wall, polyp, 1 / (height * width))] = number
    facing = _facing(wall, half)
    # light thrown back and forth between the walls makes the deep parts redder
    color = wall.albedo ** (1.35 - 0.5 * wall.light[..., None]) * (wall.light * (0.25 + 0.85 * facing))[..., None]
    if rng.random() < 0.35:
        color = _stool(rng, color, wall.light * facing, numbers > 0)
    return np.clip(_highlights(rng, color, facing, wall), 0, 2), numbers


def _field(rng: Rng, height: int, width: int) -> np.ndarray:
    """Visible field (H, W) bool of the endoscope: cut corners, an octagon with a black border, or a circle."""
    y, x = _grid(height, width)
    kind = rng.choice(("corners", "bordered", "circle"), p=(0.55, 0.3, 0.15))
    if kind == "circle":
        return np.hypot(x * width, y * height) < min(height, width) * rng.uniform(1.0, 1.15)
    border = 1.0 if kind == "corners" else rng.uniform(0.86, 0.96)
    cut = rng.uniform(1.45, 1.8) * border
    return (np.abs(x) <= border) & (np.abs(y) <= border) & (np.abs(x) + np.abs(y) < cut)


def _inset(rng: Rng, frame: np.ndarray, mask: np.ndarray) -> None:
    """Paint the green position display of the scope over the bottom left, unless it would hide most of a polyp."""
    height, width = mask.shape
    top, right = round(height * 0.68), round(width * 0.3)
    if 2 * mask[top:, :right].sum() > mask.sum():
        return
    panel = frame[top:, :right]
    panel[:] = (0.05, 0.28, 0.16)
    turns = np.cumsum(rng.normal(0, 0.25, 60)) + rng.uniform(0, 6)
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=-1), axis=0)
    path = (path - path.min(axis=0)) / np.ptp(path, axis=0).max() * (min(panel.shape[:2]) * 0.75) + (right * 0.15, 6)
    cv2.polylines(panel, [path.astype(np.int32)], False, (0.75, 0.9, 0.7), max(2, height // 90), cv2.LINE_AA)
    mask[top:, :right] = False


def _optics(rng: Rng, color: np.ndarray) -> np.ndarray:
    """(H, W, 3) in 0..1 through lens and sensor: vignette, exposure, film-like shoulder, blur and noise."""
    y, x = _grid(*color.shape[:2])
    vignette = (1 - np.float32(rng.uniform(0.05, 0.17)) * (x**2 + y**2))[..., None]
    cast = 1 + rng.normal(0, 0.03, 3).astype(np.float32)
    seen = 1 - np.exp(-rng.uniform(1.3, 2.2) * color * vignette * cast)
    seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.4, 1.2) * min(x.shape) / 400)
    return seen + rng.uniform(0.004, 0.014) * rng.standard_normal(seen.shape, dtype=np.float32)


def render(
    rng: Rng, size: tuple[int, int], polyps: Sequence[DrawnPolyp] = (), view: Rng | None = None, by_shape: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 RGB and mask (H, W) uint8 {0, 1} of one frame of `size` (W, H); `by_shape`: the mask holds
    0 and the numbers of the `SHAPES`, from 1.

    `rng` draws the scene, `view` the place of the camera and the noise of the sensor: frames of one sequence come from
    equal scenes and different views.
    """
    width, height = size
    color, numbers = _scene(rng, height, width, polyps)
    field, inset = _field(rng, height, width), rng.random() < 0.15
    view = rng if view is None else view
    middle = (numbers.shape[1] / 2, numbers.shape[0] / 2)
    move = cv2.getRotationMatrix2D(middle, view.uniform(-10, 10), view.uniform(0.98, 1.12))
    move[:, 2] += np.array(size) / 2 - np.array(middle) + view.uniform(-0.04, 0.04, 2) * min(size)
    seen = cv2.warpAffine(color, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    found = cv2.warpAffine(numbers, move, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    frame = _optics(view, seen) * field[..., None]
    mask = (found > 0) & field
    if inset:
        _inset(rng, frame, mask)
    meant = np.array([1, *(SHAPES.index(polyp.shape) + 1 if by_shape else 1 for polyp in polyps)], np.uint8)
    return (np.clip(frame, 0, 1) * 255).round().astype(np.uint8), meant[found] * mask


def pairs(folder: Path, count: int, seed: int, by_shape: bool = False) -> list[Pair]:
    """Write `count` frames to folder/images/NAME.jpg and folder/masks/NAME.png; one seed always gives the same bytes.

    `by_shape`: the shapes of the polyps are their classes.

    Frame i does not depend on `count`. One to three frames in a row are views of one sequence, which is their group.
    """

    def make(frame: tuple[int, tuple[int, int]]) -> Pair:
        index, (sequence, view) = frame
        scene = np.random.default_rng((seed, sequence))
        height = int(scene.integers(320, 521))  # video processors differ
        size = (round(height * scene.uniform(1.0, 1.3)), height)
        polyps = draw_polyps(scene) if sequence % NEGATIVE_EVERY else []
        image, mask = render(scene, size, polyps, np.random.default_rng((seed, sequence, view + 1)), by_shape)
        name = f"synthetic-{index:05d}"
        image_path, mask_path = folder / "images" / f"{name}.jpg", folder / "masks" / f"{name}.png"
        with files.atomic(image_path) as partial:
            Image.fromarray(image).save(partial, format="JPEG", quality=95)
        files.write_indices(mask_path, mask) if by_shape else files.write_mask(mask_path, mask)
        tags = tuple(sorted({p.shape for p in polyps})) or ("negative",)
        if by_shape:  # the masks say which
            tags = tuple(tag for tag in tags if tag not in SHAPES)
        return Pair(name, image_path, mask_path, f"sequence-{sequence:05d}", tags, CODING if by_shape else None)

    return in_parallel(make, list(enumerate(_schedule(seed, count))), "generating")


def _schedule(seed: int, count: int) -> list[tuple[int, int]]:
    """(sequence, view) of every frame; the lengths of the sequences are drawn in order, whatever the count."""
    lengths = np.random.default_rng(seed).choice((1, 2, 3), size=count, p=(0.6, 0.25, 0.15))
    return [(sequence, view) for sequence, length in enumerate(lengths, 1) for view in range(length)][:count]
