"""Random transforms for training, fast enough not to starve a small network on a laptop.

Each is a MONAI dictionary transform with the draw (`randomize`) apart from the act, and works with OpenCV on cached
uint8: a chain of MONAI's per-sample transforms costs several times more (see `benchmarks/augmentation.py`). An image is
(3, W, H) uint8, a label (C, W, H) uint8 of {0, 1}, as tensors whose memory lies W, H, C, so that OpenCV reads them
without a copy. OpenCV then sees the transposed picture, which changes nothing for transforms drawn symmetrically.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from polyp_monai.data.files import largest_channel

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
RGB_TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def _picture(tensor: torch.Tensor) -> np.ndarray:
    """(C, W, H) tensor -> (W, H, C) array; no copy when the memory lies that way already."""
    return np.ascontiguousarray(tensor.numpy().transpose(1, 2, 0))


def _tensor(picture: np.ndarray) -> torch.Tensor:
    """(W, H, C) or (W, H) array -> (C, W, H) view of the same memory."""
    return torch.from_numpy(picture if picture.ndim == 3 else picture[..., None]).permute(2, 0, 1)


class _RandPictured(RandomizableTransform, MapTransform):
    """Applies `self.act(picture)` to every key with probability `prob`, all keys with one draw."""

    def __init__(self, keys: KeysCollection, prob: float) -> None:
        RandomizableTransform.__init__(self, prob)
        MapTransform.__init__(self, keys)

    def draw(self) -> None:
        """Draw the parameters from `self.R`."""
        raise NotImplementedError

    def act(self, picture: np.ndarray) -> np.ndarray:
        """Transform one (W, H, C) uint8 picture with the drawn parameters."""
        raise NotImplementedError

    def randomize(self, data: Any = None) -> None:
        super().randomize(data)
        if self._do_transform:
            self.draw()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize()
        if self._do_transform:
            for key in self.key_iterator(d):
                d[key] = _tensor(self.act(_picture(d[key])))
        return d


class RandGeometryd(RandomizableTransform, MapTransform):
    """Flip, rotation, scale, aspect, shear and crop as one affine map, the same for image and mask.

    The output is always `image_size` x `image_size`, so frames of any size (aspect kept) can share a batch. What lies
    outside the frame becomes black and not polyp, as beyond the border of an endoscope's picture.

    Args:
        keys: image and mask, of one size: warped as one picture, bilinearly, where a mask of {0, 1} rounds to the
            nearer of the two.
        image_size: side of the output in pixels.
        prob: share of samples that are transformed; the others are only cropped or padded about the centre.
        rotation: largest angle in degrees, either way.
        scale: smallest and largest zoom, drawn log-uniformly.
        aspect: largest stretch of W against H, in natural log units, either way.
        shear: largest shear, either way.
        shift: largest shift of the centre as a share of the image size, beyond what a crop of a larger frame allows.
        far: share of the transformed samples that are seen from afar, so that their polyps are small: zoomed by
            `far_scale`, the frame's mirror images beyond its edges.
        far_scale: smallest and largest zoom of those.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_size: int,
        prob: float = 1.0,
        rotation: float = 180.0,
        scale: tuple[float, float] = (0.7, 1.5),
        aspect: float = 0.15,
        shear: float = 0.15,
        shift: float = 0.15,
        far: float = 0.0,
        far_scale: tuple[float, float] = (0.45, 0.8),
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        MapTransform.__init__(self, keys)
        self.image_size = image_size
        self.rotation, self.scale, self.aspect, self.shear, self.shift = rotation, scale, aspect, shear, shift
        self.far, self.far_scale = far, far_scale
        self.linear, self.offset, self.afar = np.eye(2), np.zeros(2), False

    def randomize(self, data: Any = None) -> None:
        super().randomize(data)
        self.linear, self.offset, self.afar = np.eye(2), np.zeros(2), False
        if self._do_transform:
            self.afar = self.R.uniform() < self.far
            angle = math.radians(self.R.uniform(-self.rotation, self.rotation))
            zoom = math.exp(self.R.uniform(*np.log(self.far_scale if self.afar else self.scale)))
            stretch = math.exp(self.R.uniform(-self.aspect, self.aspect) / 2)
            shear = self.R.uniform(-self.shear, self.shear)
            mirror = self.R.choice((-1.0, 1.0))  # with the rotation this covers both mirrorings
            rotate = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            self.linear = rotate @ np.array([[1, shear], [0, 1]]) @ np.diag([mirror * zoom * stretch, zoom / stretch])
            self.offset = self.R.uniform(-1, 1, 2)

    def matrix(self, size: tuple[int, int]) -> np.ndarray:
        """(2, 3) map from (row, column) of a picture of `size` (W, H) to the output, for `cv2.warpAffine`."""
        spare = np.maximum(0, np.array(size[::-1]) - self.image_size) / 2  # OpenCV's x runs along the last axis
        source = (np.array(size[::-1]) - 1) / 2 + self.offset * (spare + self.shift * self.image_size)
        target = np.full(2, (self.image_size - 1) / 2)
        return np.hstack([self.linear, (target - self.linear @ source)[:, None]])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize()
        keys = list(self.key_iterator(d))
        # OpenCV warps four channels faster than three
        together = cv2.merge([_picture(d[key]) for key in keys])
        border = cv2.BORDER_REFLECT_101 if self.afar else cv2.BORDER_CONSTANT
        matrix = self.matrix(together.shape[:2])
        warped = cv2.warpAffine(together, matrix, (self.image_size, self.image_size), borderMode=border)
        channels = cv2.split(warped)
        for key in keys:
            count = d[key].shape[0]
            d[key] = _tensor(cv2.merge(channels[:count]))
            channels = channels[count:]
        return d


class RandPolypFreeCropd(RandomizableTransform, MapTransform):
    """Now and then a part of the frame that holds no polyp, enlarged to the frame's size, with an empty label.

    Where a few tries find no such split, the sample stays as it is.

    Args:
        keys: images, (C, W, H).
        label_key: the mask, (C, W, H) of {0, 1}, of the same size.
        prob: share of samples for which a part is looked for.
        side: smallest and largest side of the part, as a share of the frame's.
        tries: parts to look at.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        prob: float = 0.1,
        side: tuple[float, float] = (0.3, 0.7),
        tries: int = 8,
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        MapTransform.__init__(self, keys)
        self.label_key, self.side, self.tries = label_key, side, tries
        self.drawn = np.zeros((0, 3))

    def randomize(self, data: Any = None) -> None:
        super().randomize(data)
        self.drawn = self.R.uniform(size=(self.tries if self._do_transform else 0, 3))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize()
        label = d[self.label_key]
        size = np.array(label.shape[1:])
        for where in self.drawn:
            part = np.round(size * (self.side[0] + (self.side[1] - self.side[0]) * where[0])).astype(int)
            start = ((size - part) * where[1:]).astype(int)
            inside = (slice(None), *(slice(s, s + p) for s, p in zip(start, part, strict=True)))
            if not label[inside].any():
                for key in self.key_iterator(d):
                    d[key] = _tensor(cv2.resize(_picture(d[key][inside]), tuple(size[::-1].tolist())))
                d[self.label_key] = torch.zeros_like(label)
                break
        return d


class _RandHidingd(RandomizableTransform, MapTransform):
    """Covers parts of the frame; what is covered is no polyp any more.

    A draw that would hide more than a third of the polyp is passed over: such a frame would teach the wrong thing.

    Args:
        keys: images, (3, W, H) uint8, and masks, (C, W, H) uint8 of {0, 1}, of one size.
        label_key: the mask among them.
        prob: share of samples that are covered.
    """

    MOST = 1 / 3  # share of the polyp that may be hidden

    def __init__(self, keys: KeysCollection, label_key: str, prob: float) -> None:
        RandomizableTransform.__init__(self, prob)
        MapTransform.__init__(self, keys)
        self.label_key = label_key

    def cover(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """What covers a frame of `size` (W, H), by `self.R`: where, bool (H, W), and colors, (H, W, 3) uint8."""
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return d
        label = d[self.label_key]
        where, colors = self.cover(tuple(label.shape[1:]))
        where, colors = where.T, colors.transpose(1, 0, 2)
        hidden = int((_picture(label) * where[..., None]).sum())
        if hidden > self.MOST * int(label.sum()):
            return d
        for key in self.key_iterator(d):
            shown = _picture(d[key])
            below = np.zeros_like(shown) if key == self.label_key else colors
            d[key] = _tensor(np.where(where[..., None], below, shown))
        return d


class RandOverlayd(_RandHidingd):
    """What processors draw over the endoscope's picture: a dark box in a corner, empty or with an inset, and text.

    Whole data sets have it and others have not, so that without it a network learns the hospital by its box.
    """

    COLORS = ((235, 235, 235), (160, 160, 160), (60, 210, 60), (230, 220, 60))  # of text

    def cover(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        width, height = size
        where, colors = np.zeros((height, width), np.uint8), np.zeros((height, width, 3), np.uint8)
        if self.R.uniform() < 0.8:
            self._box(where, colors)
        if self.R.uniform() < 0.5:
            self._text(where, colors)
        return where > 0, colors

    def _box(self, where: np.ndarray, colors: np.ndarray) -> None:
        height, width = where.shape
        wide, high = int(width * self.R.uniform(0.1, 0.4)), int(height * self.R.uniform(0.08, 0.35))
        left = 0 if self.R.uniform() < 0.75 else width - wide
        top = height - high if self.R.uniform() < 0.75 else 0
        where[top : top + high, left : left + wide] = 1
        box = colors[top : top + high, left : left + wide]
        box[:] = self.R.randint(0, 30)
        if self.R.uniform() < 0.3:  # the scope's position, as a green or blue drawing
            shade = [int(v) for v in self.R.permutation([30, self.R.randint(90, 220), self.R.randint(30, 200)])]
            shade[0] = 20
            corners = (self.R.uniform(0.1, 0.9, (6, 2)) * (wide, high)).astype(np.int32)
            drawn = np.ascontiguousarray(box)
            cv2.polylines(drawn, [corners], False, shade, max(2, high // 12))
            box[:] = drawn

    def _text(self, where: np.ndarray, colors: np.ndarray) -> None:
        height, width = where.shape
        size, color = self.R.uniform(0.3, 0.6), self.COLORS[self.R.randint(len(self.COLORS))]
        x, y = int(width * self.R.choice([0.02, 0.6])), int(height * self.R.choice([0.08, 0.3, 0.75]))
        for line in range(self.R.randint(1, 5)):
            letters = "".join(chr(c) for c in self.R.randint(45, 91, self.R.randint(4, 12)))
            place = (x, y + int(line * 30 * size))
            cv2.putText(where, letters, place, cv2.FONT_HERSHEY_SIMPLEX, size, 1, 1)
            cv2.putText(colors, letters, place, cv2.FONT_HERSHEY_SIMPLEX, size, color, 1)


class RandFieldd(_RandHidingd):
    """The shape of the endoscope's picture: a circle, or a rectangle with its corners cut off, black beyond."""

    def cover(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        width, height = size
        field = np.zeros((height, width), np.uint8)
        if self.R.uniform() < 0.5:
            wider = self.R.uniform(1.0, 1.25, 2)
            axes = [int(side / 2 * factor) for side, factor in zip(size, wider, strict=True)]
            cv2.ellipse(field, (width // 2, height // 2), axes, 0, 0, 360, 1, -1)
        else:
            x, y = (int(side * self.R.uniform(0.05, 0.25)) for side in size)
            right, bottom = width - 1, height - 1
            corners = [(x, 0), (right - x, 0), (right, y), (right, bottom - y)]
            corners += [(right - x, bottom), (x, bottom), (0, bottom - y), (0, y)]
            cv2.fillPoly(field, [np.array(corners, np.int32)], 1)
        return field == 0, np.full((height, width, 3), self.R.randint(0, 12), np.uint8)


class RandGammad(_RandPictured):
    """Another response of the camera: values to the power of `gamma` (smallest, largest; drawn log-uniformly)."""

    def __init__(self, keys: KeysCollection, prob: float = 0.3, gamma: tuple[float, float] = (0.65, 1.5)) -> None:
        super().__init__(keys, prob)
        self.gamma = gamma
        self.table = np.arange(256, dtype=np.uint8)

    def draw(self) -> None:
        power = math.exp(self.R.uniform(*np.log(self.gamma)))
        self.table = (255 * (np.arange(256) / 255) ** power).round().astype(np.uint8)

    def act(self, picture: np.ndarray) -> np.ndarray:
        return cv2.LUT(picture, self.table)


class RandVignetted(_RandPictured):
    """Light that falls off towards the edges by up to `fall` of its strength, about a centre near the middle."""

    def __init__(self, keys: KeysCollection, prob: float = 0.2, fall: float = 0.6) -> None:
        super().__init__(keys, prob)
        self.fall = fall
        self.drawn = (0.5, 0.5, 0.0)

    def draw(self) -> None:
        self.drawn = (*self.R.uniform(0.35, 0.65, 2), self.R.uniform(0, self.fall))

    def act(self, picture: np.ndarray) -> np.ndarray:
        row, column, fall = self.drawn
        down, across = (
            np.linspace(-at, 1 - at, count, dtype=np.float32) ** 2
            for at, count in zip((row, column), picture.shape[:2], strict=True)
        )
        light = 1 - np.float32(2 * fall) * (down[:, None] + across)
        return cv2.multiply(picture, cv2.merge([np.clip(light, 0, 1)] * 3), dtype=cv2.CV_8U)


class RandColord(_RandPictured):
    """Brightness, contrast, saturation, hue and white balance as one color matrix.

    Args:
        brightness: largest shift, as a share of full scale.
        contrast, saturation: largest relative change.
        hue: largest turn of hue in degrees (a rotation in the YIQ plane).
        balance: largest relative change of a single channel, as between two light sources.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.8,
        brightness: float = 0.2,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue: float = 10.0,
        balance: float = 0.1,
    ) -> None:
        super().__init__(keys, prob)
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.hue, self.balance = hue, balance
        self.color = np.eye(3, 4)

    def draw(self) -> None:
        contrast = 1 + self.R.uniform(-self.contrast, self.contrast)
        saturation = 1 + self.R.uniform(-self.saturation, self.saturation)
        angle = math.radians(self.R.uniform(-self.hue, self.hue))
        balance = 1 + self.R.uniform(-self.balance, self.balance, 3)
        cos, sin = saturation * math.cos(angle), saturation * math.sin(angle)
        chroma = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        linear = contrast * np.linalg.inv(RGB_TO_YIQ) @ chroma @ RGB_TO_YIQ @ np.diag(balance)
        shift = 255 * self.R.uniform(-self.brightness, self.brightness) + 127.5 * (1 - contrast)
        self.color = np.hstack([linear, np.full((3, 1), shift)])

    def act(self, picture: np.ndarray) -> np.ndarray:
        return cv2.transform(picture, self.color)


class RandBlurd(_RandPictured):
    """Gaussian blur with a standard deviation of `sigma` (smallest, largest) pixels: defocus and motion."""

    def __init__(self, keys: KeysCollection, prob: float = 0.2, sigma: tuple[float, float] = (0.3, 1.5)) -> None:
        super().__init__(keys, prob)
        self.sigma = sigma
        self.drawn = sigma[0]

    def draw(self) -> None:
        self.drawn = self.R.uniform(*self.sigma)

    def act(self, picture: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(picture, (0, 0), self.drawn)


class RandMotiond(_RandPictured):
    """Motion blur along a line of up to `length` pixels in any direction."""

    def __init__(self, keys: KeysCollection, prob: float = 0.1, length: float = 12) -> None:
        super().__init__(keys, prob)
        self.length = length
        self.kernel = np.ones((1, 1), np.float32)

    def draw(self) -> None:
        length, angle = self.R.uniform(2, self.length), self.R.uniform(0, math.pi)
        half = math.ceil(length / 2)
        end = np.array([math.cos(angle), math.sin(angle)]) * length / 2
        line = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
        cv2.line(line, tuple(np.rint(half - end).astype(int)), tuple(np.rint(half + end).astype(int)), 1.0)
        self.kernel = line / line.sum()

    def act(self, picture: np.ndarray) -> np.ndarray:
        return cv2.filter2D(picture, -1, self.kernel)


class RandSpeculard(_RandPictured):
    """Specular highlights: small white ellipses with a soft edge, as wet mucosa mirrors the lamp.

    Synthetic highlights help on public polyp sets (Sanchez-Peralta et al. 2020, IJCARS).

    Args:
        count: largest number of highlights.
        radius: smallest and largest half axis, as a share of the picture's width.
    """

    def __init__(
        self, keys: KeysCollection, prob: float = 0.2, count: int = 6, radius: tuple[float, float] = (0.004, 0.03)
    ) -> None:
        super().__init__(keys, prob)
        self.count, self.radius = count, radius
        self.drawn = np.zeros((0, 5))

    def draw(self) -> None:
        self.drawn = self.R.uniform(size=(self.R.randint(1, self.count + 1), 5))

    def act(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        low, high = self.radius
        lit = picture.copy()
        for x, y, a, b, angle in self.drawn:
            axes = [max(1, round(width * (low + (high - low) * r * r))) for r in (a, b)]  # small ones are commoner
            column, row, reach = int(x * width), int(y * height), max(axes) + 4
            top, left = max(0, row - reach), max(0, column - reach)
            patch = lit[top : row + reach, left : column + reach]
            light = np.zeros(patch.shape[:2], np.uint8)
            cv2.ellipse(light, (column - left, row - top), axes, angle * 180, 0, 360, 255, -1)
            light = cv2.GaussianBlur(light, (0, 0), 1.0)
            # nothing shines in the black border outside the endoscope's field
            light[largest_channel(patch) < 20] = 0
            np.maximum(patch, light[..., None], out=patch)
        return lit


class RandJpegd(_RandPictured):
    """JPEG noise of a quality between `quality` (lowest, highest), 1..100."""

    def __init__(self, keys: KeysCollection, prob: float = 0.2, quality: tuple[int, int] = (40, 90)) -> None:
        super().__init__(keys, prob)
        self.quality = quality
        self.drawn = quality[1]

    def draw(self) -> None:
        self.drawn = int(self.R.randint(self.quality[0], self.quality[1] + 1))

    def act(self, picture: np.ndarray) -> np.ndarray:
        # JPEG subsamples blue and red color differences alike, so the BGR that OpenCV assumes matters little; swap
        # nevertheless would cost two copies
        _, encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, self.drawn))
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
