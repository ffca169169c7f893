"""Uploads that were cut, flipped or made up: always a status below 500, and no growth."""

from __future__ import annotations

import gzip
import resource
import warnings

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.conftest import drawn, encoded


def whole() -> list[bytes]:
    """One of each encoder, small, with the parts that decoders trip over."""
    image = drawn(0, (48, 40))
    deep = image[..., 0].astype(np.uint16) * 257
    volume = nibabel.Nifti1Image(image[..., 0].T[:, :, None], np.eye(4))
    return [
        encoded(image),
        encoded(deep),
        encoded(image, "JPEG"),
        encoded(
            image,
            "JPEG",
            progressive=True,
            exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
        ),
        encoded(image, "TIFF"),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image, "BMP"),
        encoded(image, "WEBP"),
        encoded(image, "WEBP", lossless=True),
        volume.to_bytes(),
        gzip.compress(volume.to_bytes()),
        nibabel.Nifti2Image(image[..., 0].T, np.eye(4)).to_bytes(),
    ]


WHOLE = whole()


@st.composite
def damaged(draw) -> bytes:
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(0, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def check(client, content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it could read all the same
        answer = client.post("/v1/predict", content=content)
    assert answer.status_code in (200, 400, 413), (answer.status_code, answer.text)
    if answer.status_code != 200:
        (line,) = answer.json().values()
        assert line.startswith("frame: ")
        assert "\n" not in line


def test_whole_ones_are_read(client):
    for content in WHOLE:
        assert client.post("/v1/predict", content=content).status_code == 200


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(damaged())
def test_damaged_uploads(client, content):
    check(client, content)


@pytest.mark.slow
def test_many_damaged_uploads_do_not_add_up(client):
    for _ in range(2):
        for content in WHOLE:
            check(client, content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged())
    def many(content: bytes) -> None:
        check(client, content)

    many()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"500 damaged uploads: no 500, {grown / 1024:.0f} MiB more at the most")
    assert grown < 100 * 1024


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.binary(max_size=400), st.sampled_from(["multipart/form-data; boundary=x", "multipart/form-data", "image/png"])
)
def test_bodies_that_are_made_up(client, content, kind):
    for body in (content, b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + content):
        answer = client.post("/v1/predict", content=body, headers={"content-type": kind})
        assert answer.status_code in (200, 400, 413, 422), answer.text
