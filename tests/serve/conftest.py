"""A service with a network of one convolution, which calls red pixels polyp, on small frames."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

import polyp_monai
from tests.runtime.conftest import cache, tiny, tiny_home  # noqa: F401

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from polyp_monai.serve import server
from polyp_monai.serve.app import create
from polyp_monai.serve.guard import LOOPBACK
from polyp_monai.serve.limits import Limits
from polyp_monai.serve.service import Service

HOME = "http://127.0.0.1"
web = httpx.Client(timeout=60)  # machines that test are busy


def drawn(seed: int, size: tuple[int, int] = (120, 96)) -> np.ndarray:
    """(H, W, 3) RGB with red blobs."""
    random = np.random.default_rng(seed)
    image = random.integers(100, 220, (size[1], size[0], 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    for _ in range(int(random.integers(1, 4))):
        centre = [int(random.integers(side // 4, 3 * side // 4)) for side in size]
        cv2.circle(image, centre, int(random.integers(6, 18)), (250, 20, 30), cv2.FILLED)
    return image


def encoded(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind, **options)
    return buffer.getvalue()


def pixels(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)))


@pytest.fixture(scope="session")
def loaded(tiny_home):  # noqa: F811
    return polyp_monai.load(tiny_home, device="cpu")


@contextmanager
def client_of(service: Service, **words) -> Iterator[TestClient]:
    app = create(service, **{"hosts": LOOPBACK, **words})
    with TestClient(app, base_url=HOME, raise_server_exceptions=False) as client:
        client.service = service
        yield client


@contextmanager
def served(bundles, limits: Limits, source=None, **words) -> Iterator[TestClient]:
    """A client without a network between."""
    if not isinstance(bundles, dict):
        bundles = {"tiny": bundles}
    with client_of(Service(bundles, limits, lambda: [encoded(drawn(0))], source), **words) as client:
        yield client


@contextmanager
def running(bundle, limits: Limits, source=None, **words) -> Iterator[tuple[str, Service]]:
    """Address and service of a server on a socket, in a thread."""
    service = Service({"tiny": bundle}, limits, list, source)
    app = create(service, **{"hosts": LOOPBACK, **words})
    listening = server.listen("127.0.0.1", 0)
    process = server.Stoppable(server.config(app, limits), service.stop)
    thread = threading.Thread(target=process.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: process.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", service
    finally:
        process.should_exit = True
        thread.join(30)
        listening.close()


@contextmanager
def held(service: Service) -> Iterator[None]:
    """The network stands still until the block ends."""
    predictor = service.bundle(None).predictor
    with predictor._turn:
        yield


def until(true, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def client(loaded) -> Iterator[TestClient]:
    with served(loaded, Limits(body=2 * 2**20, pixels=1_000_000)) as found:
        yield found
