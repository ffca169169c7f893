"""What the service refuses, and that it goes on answering."""

from __future__ import annotations

import gzip
import socket
import struct
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import nibabel
import numpy as np
import pytest

from polyp_monai.serve.limits import Limits
from tests.serve.conftest import drawn, encoded, held, running, served, until, web


def test_a_full_queue_is_429_and_health_goes_on(loaded):
    body = encoded(drawn(0))
    with running(loaded, Limits(queue=3)) as (home, service), ThreadPoolExecutor(8) as pool:
        with held(service):
            work = [pool.submit(web.post, f"{home}/v1/predict", content=body, timeout=60) for _ in range(3)]
            until(lambda: service.requests.taken == 3)
            refused = web.post(f"{home}/v1/predict", content=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert refused.json() == {"error": "the queue is full; try again in 1 s"}
            infer = web.post(f"{home}/v2/models/tiny/infer", content=b"{}")
            assert (infer.status_code, infer.headers["retry-after"]) == (429, "1")
            assert web.get(f"{home}/healthz").json() == {"live": True}
            assert "polyp_requests_in_progress 3.0" in web.get(f"{home}/metrics").text
        assert [answer.result().status_code for answer in work] == [200] * 3
        assert web.post(f"{home}/v1/predict", content=body).status_code == 200


def test_who_has_gone_leaves_the_queue(loaded):
    body = encoded(drawn(0))
    request = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with running(loaded, Limits(batch=1)) as (home, service):
        port = int(home.rpartition(":")[2])
        batches = service.bundle(None).batches
        with held(service):
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
            for client in clients:
                client.sendall(request)
            until(lambda: len(batches) == 3)  # and one is at the network
            for client in clients:
                client.close()
            until(lambda: len(batches) == 0 and service.requests.taken == 0)
        assert web.post(f"{home}/v1/predict", content=body).status_code == 200
        assert service.held._room.taken == 0


def chunks(size: int):
    for _ in range(size // 2**16):
        yield bytes(2**16)


def test_bodies_that_are_too_large(loaded):
    with running(loaded, Limits(body=2**20, held=2**21)) as (home, service):
        for content in (bytes(2**20 + 1), chunks(2**21)):  # announced, and not
            answer = web.post(f"{home}/v1/predict", content=content)
            assert (answer.status_code, answer.json()) == (413, {"error": "the body is larger than 1 MiB"})
        assert service.held._room.taken == 0


def test_all_bodies_together_are_bounded(loaded):
    with served(loaded, Limits(body=2**21, held=2**20)) as client:
        answer = client.post("/v1/predict", content=bytes(2**20 + 1))
        assert answer.status_code == 429
        assert client.post("/v1/predict", content=encoded(drawn(0))).status_code == 200


def png_bomb(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def nifti_bomb() -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 1))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(1000)


def bombs() -> dict[str, bytes]:
    flat = bytes(40_000_000)
    image = np.zeros((3000, 3000, 3), np.uint8)
    return {
        "png": png_bomb(40000),
        "jpeg": encoded(image, "JPEG"),
        "webp": encoded(image, "WEBP"),
        "tiff": encoded(image, "TIFF", compression="tiff_deflate"),
        "nifti": nifti_bomb(),
        "gzip": gzip.compress(nifti_bomb() + flat),
    }


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "nifti", "gzip"])
def test_bombs(client, kind):
    answer = client.post("/v1/predict", content=bombs()[kind])
    assert answer.status_code == (400 if kind == "gzip" else 413), answer.text
    expected = {"png": "is too large (Image size (1600000000 pixels)", "gzip": "unpacks to more than 13 MB"}
    assert expected.get(kind, "is too large; up to 1 megapixels") in answer.json()["error"]


def test_a_line_is_no_frame(client):
    answer = client.post("/v1/predict", content=encoded(np.zeros((1, 5000, 3), np.uint8)))
    assert answer.json() == {"error": "frame: 5000 x 1 pixels are no frame of a video"}


def test_nothing_touches_the_disk(client, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was asked for")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    image = np.random.default_rng(0).integers(0, 255, (700, 800, 3), dtype=np.uint8)
    body = encoded(image)
    assert len(body) > 1_500_000  # where others spool
    answer = client.post("/v1/predict", files=[("files", ("large.png", body))])
    assert answer.json()["results"][0]["width"] == 800


def test_multipart_bodies_are_bounded(loaded):
    with served(loaded, Limits(parts=3)) as client:
        many = [("files", (f"{i}.png", b"x")) for i in range(4)]
        assert client.post("/v1/predict", files=many).status_code == 400
        text = {"data": {"note": "x" * 2**17}, "files": many[:1]}
        assert client.post("/v1/predict", **text).status_code == 400
        assert client.post("/v1/predict", files=[("other", ("a.png", b"x"))]).status_code == 422
        headers = {"content-type": "multipart/form-data"}
        assert client.post("/v1/predict", content=b"x", headers=headers).status_code == 400


def test_a_path_is_not_opened(client, tmp_path):
    frame = tmp_path / "frame.png"
    frame.write_bytes(encoded(drawn(0)))
    for content in (str(frame).encode(), f"file://{frame}".encode()):
        assert client.post("/v1/predict", content=content).status_code == 400
    answer = client.post("/v1/predict", files=[("files", (str(frame), b"no picture"))]).json()["results"][0]
    assert answer["name"] == "frame.png"
    assert "error" in answer


def test_a_body_that_does_not_come(loaded):
    with running(loaded, Limits(seconds=0.5)) as (home, service):
        port = int(home.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc")
            assert b"408 Request Timeout" in client.recv(1000)
        assert service.requests.taken == 0


def test_a_network_that_takes_too_long(loaded):
    with running(loaded, Limits(seconds=1.5)) as (home, service), held(service):
        answer = web.post(f"{home}/v1/predict", content=encoded(drawn(0)), timeout=60)
        assert answer.status_code == 503
        assert service.requests.taken == 0


def test_connections_are_bounded(loaded):
    with running(loaded, Limits(connections=4, seconds=1)) as (home, _):
        port = int(home.rpartition(":")[2])
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        closed = 0
        for client in silent:
            client.settimeout(0.3)
            try:
                closed += client.recv(1) == b""
            except ConnectionError:
                closed += 1
            except TimeoutError:
                pass
        assert closed >= 4
        until(lambda: _answers(home))  # those that say nothing are closed after a second


def _answers(home: str) -> bool:
    try:
        return web.get(f"{home}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_an_error_inside_is_one_line_and_the_next_frame_is_well(client, monkeypatch, caplog):
    predictor = client.service.bundle(None).predictor
    body = encoded(drawn(0))
    with monkeypatch.context() as patch:
        patch.setattr(predictor, "infer", lambda samples: 1 / 0)
        answer = client.post("/v1/predict", content=body)
    assert (answer.status_code, set(answer.json())) == (500, {"error"})
    assert "ZeroDivisionError while answering /v1/predict" in caplog.text
    assert client.post("/v1/predict", content=body).status_code == 200


def test_threads_end_with_the_service(loaded):
    with served(loaded, Limits()) as client:
        client.post("/v1/predict", content=encoded(drawn(0)))
    assert not [thread for thread in threading.enumerate() if thread.name == "polyp-network" and not thread.daemon]
    assert not client.service.bundle(None).batches.alive
