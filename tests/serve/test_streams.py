"""Clips, a browser's camera, and a source that is followed."""

from __future__ import annotations

import json
import socket
import threading

import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from polyp_monai.errors import PolypError
from polyp_monai.serve.limits import Limits
from polyp_monai.video.container import open_clip
from polyp_monai.video.sink import VideoSink
from tests.serve.conftest import drawn, encoded, running, served, until, web
from tests.video.clips import encode

pytest.importorskip("av")
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """12 frames: nothing in the first three, then one polyp that stays."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoSink(path, (120, 96), 25) as sink:
        for index in range(12):
            image = np.full((96, 120, 3), 60, np.uint8)
            if index >= 3:
                image[30:60, 40 + index : 80 + index] = (250, 20, 30)
            sink.write(image, index / 25)
    return path


def parsed(text: str) -> list[tuple[str, dict]]:
    events = [part.split("\n") for part in text.strip().split("\n\n")]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in events]


def test_a_clip_gives_the_polyps_of_the_command(client, loaded, clip):
    answer = client.post("/v1/video", content=clip.read_bytes())
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parsed(answer.text)
    frames = [about for kind, about in events if kind == "frame"]
    expected = list(loaded.track(clip))
    assert [about["frame"] for about in frames] == list(range(12))
    assert [[polyp["id"] for polyp in about["polyps"]] for about in frames] == [
        [polyp.number for polyp in frame.polyps] for frame in expected
    ]
    x0, y0, x1, y1 = expected[-1].polyps[0].box
    assert frames[-1]["polyps"][0]["box"] == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=0.11)
    assert (frames[0]["width"], frames[0]["height"]) == (120, 96)
    alarms = [about for kind, about in events if kind == "alarm"]
    assert [alarm["id"] for alarm in alarms] == [1]
    assert events[-1] == ("done", {"frames": 12, "damaged": 0})


@pytest.mark.parametrize("content", [b"", b"no video", b"#EXTM3U\nfile:///etc/passwd\n", b"\0" * 1000])
def test_what_is_no_clip(client, content):
    answer = client.post("/v1/video", content=content)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})
    assert client.service.streams.taken == 0


def test_a_clip_that_is_cut(client, clip):
    content = clip.read_bytes()
    for size in (len(content) // 3, len(content) // 2, len(content) - 100):
        answer = client.post("/v1/video", content=content[:size])
        assert answer.status_code == 400 or parsed(answer.text)[-1][0] == "done"


def test_large_clips_and_frames(loaded, clip):
    with served(loaded, Limits(clip=1000)) as client:
        assert client.post("/v1/video", content=clip.read_bytes()).status_code == 413
    with served(loaded, Limits(pixels=5000)) as client:
        answer = client.post("/v1/video", content=clip.read_bytes())
        assert (answer.status_code, "too large" in answer.text) == (413, True)


def test_a_bare_mpeg_stream(client, tmp_path):
    """The size of a program stream is known once it is decoded: too late for a bound."""
    of = {name: encode(tmp_path / name, 5, "mpeg2video").read_bytes() for name in ("a.mpg", "a.m2v")}
    refused = client.post("/v1/video", content=of["a.mpg"])
    assert (refused.status_code, "is a bare MPEG stream" in refused.text) == (400, True)
    assert parsed(client.post("/v1/video", content=of["a.m2v"]).text)[-1][0] == "done"


def test_clips_open_nothing_else(clip, tmp_path):
    """Playlists and lists of files name others: FFmpeg would read them, here, or from anywhere."""
    fetched = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=lambda: fetched.append(door.accept()), daemon=True).start()
        address = f"http://127.0.0.1:{door.getsockname()[1]}/a.ts"
        for text in (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{clip}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{clip}'\n",
            f"<?xml version='1.0'?><MPD><BaseURL>{address}</BaseURL></MPD>",
            f"v=0\nc=IN IP4 127.0.0.1\nm=video {door.getsockname()[1]} RTP/AVP 96\n",
        ):
            with pytest.raises(PolypError):
                open_clip(text.encode(), "clip", 10**6)
        assert fetched == []


def test_as_many_clips_as_can_be(loaded, clip):
    with served(loaded, Limits(streams=0)) as client:
        assert client.post("/v1/video", content=clip.read_bytes()).status_code == 429
        with client.websocket_connect("ws://127.0.0.1/v1/live") as live, pytest.raises(WebSocketDisconnect) as refused:
            live.receive_json()
        assert refused.value.code == 1013


def test_a_client_that_leaves_a_clip(loaded, clip):
    with running(loaded, Limits()) as (home, service):
        with web.stream("POST", f"{home}/v1/video", content=clip.read_bytes()) as answer:
            next(answer.iter_lines())
        until(lambda: service.streams.taken == 0 and service.held._room.taken == 0)


def test_live(client):
    with client.websocket_connect("ws://127.0.0.1/v1/live?bundle=tiny") as live:
        for number in range(6):
            live.send_bytes(encoded(drawn(1), "JPEG"))
            found = live.receive_json()
            assert (found["frame"], found["width"], found["height"]) == (number, 120, 96)
        assert found["polyps"][0]["id"] == 1  # from the third frame that saw it
        assert found["polyps"][0]["polygons"][0]
        live.send_bytes(b"no picture")
        assert "is no picture" in live.receive_json()["error"]
        live.send_bytes(encoded(drawn(1, (80, 60)), "JPEG"))
        assert live.receive_json()["width"] == 80
    until(lambda: client.service.streams.taken == 0)


def test_live_takes_the_newest(loaded):
    with running(loaded, Limits()) as (home, service):
        from websockets.sync.client import connect

        with connect(f"{home.replace('http', 'ws')}/v1/live") as live:
            with service.bundle(None).predictor._turn:
                live.send(encoded(drawn(0), "JPEG"))
                for _ in range(20):
                    live.send(encoded(drawn(1), "JPEG"))
                until(lambda: service.streams.taken == 1)
                threading.Event().wait(0.5)
            numbers = [json.loads(live.recv(20))["frame"] for _ in range(2)]
        assert numbers[-1] == 20
        assert numbers[0] < 5
        until(lambda: service.streams.taken == 0)


@pytest.mark.parametrize("token", ["", "wrong", "{}"])
def test_live_asks_for_the_token(loaded, token):
    with served(loaded, Limits(), token=TOKEN) as client:
        with client.websocket_connect("ws://127.0.0.1/v1/live") as live:
            live.send_text(token)
            with pytest.raises(WebSocketDisconnect) as refused:
                live.receive_json()
            assert refused.value.code == 1008
        with client.websocket_connect("ws://127.0.0.1/v1/live") as live:
            live.send_text(TOKEN)
            live.send_bytes(encoded(drawn(1), "JPEG"))
            assert live.receive_json()["frame"] == 0


def test_a_source_is_followed_and_shown(loaded, clip):
    with running(loaded, Limits(), source=str(clip)) as (home, service):
        with web.stream("GET", f"{home}/v1/source/events") as answer:
            lines = answer.iter_lines()
            event = next(lines), json.loads(next(lines).removeprefix("data: "))
            assert event[0] == "event: frame"
            assert event[1]["width"] == 120
        with web.stream("GET", f"{home}/v1/source.mjpeg") as answer:
            assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
            content = b""
            for chunk in answer.iter_bytes():
                content += chunk
                if content.count(b"\xff\xd8\xff") > 15:  # more than the clip has: it is played again
                    break
        assert web.get(f"{home}/v1/bundles").json()["source"] == "clip.mp4"
        until(lambda: service.viewers.taken == 0 and service.follower.watchers == 0)


def test_without_a_source(client):
    assert client.get("/v1/source.mjpeg").status_code == 404
    assert client.get("/v1/source/events").status_code == 404
