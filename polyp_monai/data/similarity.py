"""Pictures that show the same: equal pixels, or pixels that only re-encoding, scaling or light make differ.

Two pictures are near duplicates when two independent views of them agree: the correlation of grey 32 x 32 thumbnails is
at least .985, and their 256-bit difference hashes (is each cell brighter than its left neighbour? 16 x 16) differ in at
most 24 bits. Measured: re-encoding (JPEG 50), halving, 20 % more light, gamma 0.8 and blur of every 13th image of
Kvasir-SEG and CVC-ClinicDB leave at least .993 and at most 13 bits; the look-alikes that are not duplicates reach .973
(CVC-ClinicDB, different sequences), .966 (Kvasir-SEG) and .979 (BKAI-IGH). The four known pairs of Kvasir-SEG have .993
or more and at most 14 bits. A crop of 3 % on one side is found in about half of the cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

THUMBNAIL = 32
HASH = 16
CORRELATION = 0.985
DISTANCE = 24
BLOCK = 1024  # rows compared at a time: memory stays at BLOCK x images


@dataclass(frozen=True)
class Duplicate:
    """Two pictures by their place in the sequence given, `first` < `second`."""

    first: int
    second: int
    exact: bool
    correlation: float
    distance: int


def views(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two views of a grey (H, W) uint8 picture: (32 * 32,) uint8 and (256,) bool."""
    import cv2

    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    cells = cv2.resize(grey, (HASH + 1, HASH), interpolation=cv2.INTER_AREA)
    return thumbnail.ravel(), (cells[:, 1:] > cells[:, :-1]).ravel()


def unit_vectors(thumbnails: np.ndarray) -> np.ndarray:
    """(n, 1024) thumbnails as float32 vectors whose products are the pictures' correlations, -1..1."""
    vectors = np.asarray(thumbnails, np.float32).reshape(len(thumbnails), -1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 1e-3, length, np.inf)  # a flat picture is like no other


def find(digests: Sequence[str], thumbnails: np.ndarray, hashes: np.ndarray) -> Iterator[Duplicate]:
    """Every pair of duplicates among n pictures: `digests` of their pixels, (n, 1024) thumbnails, (n, 256) hashes."""
    n = len(digests)
    vectors = unit_vectors(thumbnails)
    identity = np.unique(np.asarray(digests, dtype=str), return_inverse=True)[1].reshape(-1)
    for start in range(0, n, BLOCK):
        correlation = vectors[start : start + BLOCK] @ vectors[start:].T
        same = identity[start : start + BLOCK, None] == identity[None, start:]
        for row, column in np.argwhere((correlation >= CORRELATION) | same):
            if column <= row:
                continue
            first, second = start + int(row), start + int(column)
            distance = int(np.count_nonzero(hashes[first] != hashes[second]))
            if same[row, column] or distance <= DISTANCE:
                likeness = 1.0 if same[row, column] else float(min(correlation[row, column], 1.0))
                yield Duplicate(first, second, bool(same[row, column]), likeness, distance)
