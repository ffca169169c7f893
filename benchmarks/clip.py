"""A clip of still frames over which a camera wanders, so that polyps come into view and go: with exact truth.

    python benchmarks/clip.py clip.mp4 [--seconds 20]
    python benchmarks/clip.py healthy.mp4 --negatives DATA --seconds 60

Writes clip.mp4 (1280 x 1024, H.264, 25 frames a second, black border, grain) and clip.truth.csv, the boxes of its
polyps as `polyp score-video` reads them. Real frames when POLYP_TEST_DATA names Kvasir-SEG, else synthetic ones.

With --negatives, the test frames without a polyp of a prepared set, scene after scene, a second each, whole, by a hand
that is not still: every polyp that is shown is a false alarm.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from common import find_pairs

from polyp_monai.data import datalist, files
from polyp_monai.video.sink import VideoSink

SIZE, RATE, EACH = (1280, 1024), 25, 5.0  # EACH: seconds on one still frame
PICTURE = (110, 30, 1250, 1000)  # x0, y0, x1, y1 of the endoscope's picture within the frame
CLOSE = 2.2  # how much larger a still frame is than the picture
VISIBLE = 0.002  # share of the picture from which a polyp is visible


def write_clip(path: Path, pairs: list[tuple[Path, Path]], seconds: float) -> Path:
    """Write the clip to `path`. Returns the path of its truth."""
    grain = np.random.default_rng(0).normal(0, 4, (SIZE[1], SIZE[0], 3)).astype(np.float32)
    hole = np.zeros(SIZE[::-1], np.uint8)
    x0, y0, x1, y1 = PICTURE
    octagon = [(x0 + 150, y0), (x1 - 150, y0), (x1, y0 + 150), (x1, y1 - 150), (x1 - 150, y1), (x0 + 150, y1)]
    cv2.fillPoly(hole, [np.array([*octagon, (x0, y1 - 150), (x0, y0 + 150)])], 1)
    rows, frame_of_still = ["frame,polyp,x0,y0,x1,y1"], round(EACH * RATE)
    with VideoSink(path, SIZE, RATE, preset="fast") as sink:
        for index in range(round(seconds * RATE)):
            still = index // frame_of_still
            image_file, mask_file = pairs[still % len(pairs)]
            if index % frame_of_still == 0:
                image, mask = files.read_rgb(image_file), files.read_mask(mask_file)
            matrix = _camera(mask, (index % frame_of_still) / frame_of_still)
            frame = cv2.warpAffine(image, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            seen = cv2.warpAffine(mask, matrix, SIZE, flags=cv2.INTER_NEAREST) * hole
            frame = np.clip(frame + np.roll(grain, index * 7, axis=1), 0, 255).astype(np.uint8) * hole[..., None]
            sink.write(frame, index / RATE)
            if seen.sum() >= VISIBLE * hole.sum():
                left, top, width, height = cv2.boundingRect(seen)
                rows.append(f"{index},{still + 1},{left},{top},{left + width},{top + height}")
    truth = path.with_suffix(".truth.csv")
    files.write_text(truth, "\n".join(rows) + "\n")
    return truth


def write_healthy(path: Path, images: list[Path], seconds: float) -> None:
    """Write a clip of as many of `images`, spread evenly, as there are seconds."""
    chosen = [images[round(i)] for i in np.linspace(0, len(images) - 1, round(seconds))]
    middle = np.array(SIZE) / 2
    with VideoSink(path, SIZE, RATE, preset="fast") as sink:
        for second, image_file in enumerate(chosen):
            image = files.read_rgb(image_file)
            size = np.array(image.shape[1::-1])
            for index in range(RATE):
                time = second + index / RATE
                scale = (SIZE / size).min() * (1 + 0.05 * np.sin(2 * np.pi * time))
                centre = size / 2 + 0.02 * size * np.array([np.sin(5 * time), np.cos(7 * time)])
                matrix = np.column_stack([np.eye(2) * scale, middle - scale * centre]).astype(np.float32)
                sink.write(cv2.warpAffine(image, matrix, SIZE, flags=cv2.INTER_LINEAR), time)


def _camera(mask: np.ndarray, share: float) -> np.ndarray:
    """(2, 3) from a still frame to the clip: from where the polyp is out of view, to the polyp, and back."""
    height, width = mask.shape
    picture = np.array([PICTURE[2] - PICTURE[0], PICTURE[3] - PICTURE[1]])
    scale = CLOSE * (picture / (width, height)).max()
    rows, columns = np.nonzero(mask)
    polyp = np.array([columns.mean(), rows.mean()]) if rows.size else np.array([width / 2, height / 2])
    away = np.where(polyp < np.array([width, height]) / 2, 0.85, 0.15) * (width, height)
    half = picture / scale / 2  # of what is visible, which stays within the still frame
    away, polyp = (np.clip(place, half, (width, height) - half) for place in (away, polyp))
    centre = away + (polyp - away) * (0.5 - 0.5 * np.cos(2 * np.pi * share))
    middle = np.array([PICTURE[0] + PICTURE[2], PICTURE[1] + PICTURE[3]]) / 2
    return np.column_stack([np.eye(2) * scale, middle - scale * centre]).astype(np.float32)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("out", type=Path, help="clip to write")
    options.add_argument("--seconds", type=float, default=20, help="length (20)")
    options.add_argument(
        "--negatives", type=Path, help="prepared set whose test frames without a polyp are strung together"
    )
    args = options.parse_args()
    if args.negatives:
        samples = sorted(datalist.labelled_frames(args.negatives, "test"), key=lambda s: (s["group"], s["name"]))
        images = [Path(s["image"]) for s in samples if not files.read_mask(s["label"]).any()]
        write_healthy(args.out, images, args.seconds)
        print(f"{args.out}: {len(images)} frames without a polyp")
        return
    with TemporaryDirectory() as folder:
        pairs, kind = find_pairs(Path(folder), 20)
        print(f"{write_clip(args.out, pairs, args.seconds)}: {kind}")


if __name__ == "__main__":
    main()
