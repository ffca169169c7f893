"""The shapes of JSON answers, for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ErrorAnswer(BaseModel):
    error: str


class CalibratedThreshold(BaseModel):
    """A threshold that `polyp calibrate` found, and what it promises."""

    name: str
    threshold: float


class ClassFacts(BaseModel):
    """A class of polyps, and the color that its masks and outlines have."""

    name: str
    color: str


class BundleFacts(BaseModel):
    name: str
    version: str
    description: str
    image_size: int
    fit: str
    crop: bool
    threshold: float
    classes: list[ClassFacts]
    calibrated: list[CalibratedThreshold]
    parameters: int | None
    runtime: str
    digest: str


class BundlesAnswer(BaseModel):
    """`limits`: what is taken at most; `source`: name of the video that is followed, if any."""

    default: str
    bundles: list[BundleFacts]
    limits: dict[str, int]
    source: str | None


class PolypAnswer(BaseModel):
    """`box` is x, y, width, height, `area` pixels, `share` of the frame; `polygons` are lists of x, y.

    Of a bundle that tells classes apart `class`, a name or "uncertain", and its probability.
    """

    number: int
    box: list[float]
    area: int
    share: float
    size: str
    confidence: float
    polygons: list[list[list[int]]]
    class_name: str | None = Field(None, alias="class")
    class_probability: float | None = None
    color: str | None = None


class ClassMap(ClassFacts):
    """`probability` of one class, as that of a polyp."""

    probability: str


class ClassMaps(BaseModel):
    """With the probability of a bundle that tells classes apart. `certainty`: below it a polyp is `uncertain`."""

    of: list[ClassMap]
    certainty: float
    uncertain: ClassFacts


class FrameAnswer(BaseModel):
    """One frame: what was found, or why it could not be read (`name` and `error` alone)."""

    name: str
    error: str | None = None
    width: int | None = None
    height: int | None = None
    threshold: float | None = None
    milliseconds: dict[str, float] | None = None
    polyps: list[PolypAnswer] | None = None
    probability: str | None = None
    classes: ClassMaps | None = None


class FramesAnswer(BaseModel):
    bundle: str
    version: str
    results: list[FrameAnswer]


class SampleFacts(BaseModel):
    name: str
    url: str


class SamplesAnswer(BaseModel):
    samples: list[SampleFacts]


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 408, 413, 422, 429, 503)
}
