"""`polyp serve` as a process: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from polyp_monai.cli import serve
from polyp_monai.cli.main import main
from tests.serve.conftest import drawn, encoded, web

HOME = Path(__file__).resolve().parents[2]


@contextmanager
def process(*words: str):
    """`polyp serve` and its address."""
    command = [sys.executable, "-m", "polyp_monai", "serve", *words, "--device", "cpu"]
    pipe = subprocess.PIPE
    env = {**os.environ, "PYTHONPATH": str(HOME)}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as running:
        try:
            yield running, running.stdout.readline().split("  ")[0]
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_process_that_is_stopped_answers_first(tiny_home, tmp_path, number):
    source = tmp_path / "frames"
    source.mkdir()
    for index in range(5):
        (source / f"{index}.png").write_bytes(encoded(drawn(1)))
    with process(str(tiny_home), "--port", "0", "--source", str(source)) as (running, address):
        assert address.startswith("http://127.0.0.1:"), running.stderr.read()
        results = web.post(f"{address}/v1/predict", content=encoded(drawn(0))).json()["results"]
        assert results[0]["polyps"]
        ended = []
        with web.stream("GET", f"{address}/v1/source/events", timeout=60) as events:
            lines = events.iter_lines()
            next(lines)
            reader = threading.Thread(target=lambda: ended.extend(lines))
            reader.start()
            running.send_signal(number)
            reader.join(60)
        assert "event: done" in ended
        out, err = running.communicate(timeout=60)
        assert (running.returncode, out) == (0, "stopped\n")
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: others can reach it there; give --token-file FILE with a token"),
        (["--token-file", "nothing"], "nothing: No such file or directory; --token-file names a file with the token"),
        (["--token-file", "short"], "short: a token is one line of 16 characters or more"),
        (["--tls-cert", "short"], "--tls-cert and --tls-key: give both, or none"),
        (
            ["--tls-cert", "short", "--tls-key", "short"],
            "--tls-cert short and --tls-key short: are no certificate in PEM",
        ),
        (["--allow-origin", "polyp.example.org"], "polyp.example.org: expected https://NAME or https://NAME:PORT"),
        (["--port", "70000"], "--port 70000"),
        (["--source", "nothing.mp4"], "nothing.mp4: no such file"),
        (["--batch-size", "4"], "has no meaning for `polyp serve`"),
        (["nothing"], "nothing"),
    ],
)
def test_what_it_refuses(words, line, tiny_home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("short").write_text("short\n")
    bundle = [] if words == ["nothing"] else [str(tiny_home)]
    assert main(["serve", *bundle, "--port", "0", *words]) in (1, 2)
    err = capsys.readouterr().err
    assert line in err
    assert "Traceback" not in err


def test_a_port_that_is_taken(tiny_home, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(tiny_home), "--port", str(port)]) == 1
    assert f"127.0.0.1:{port}: cannot be used (Address already in use); give another --port" in capsys.readouterr().err


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(serve, "NEEDED", ("a_package_that_nobody_has",))
    assert main(["serve"]) == 1
    assert "pip install 'polyp_monai[serve]'" in capsys.readouterr().err


def test_bundles_of_one_name():
    class Named:
        name = "unet"

    assert list(serve.named([Named(), Named(), Named()])) == ["unet", "unet-2", "unet-3"]


def test_samples_are_frames_with_polyps():
    made = serve.samples()
    assert len(made) == len(serve.SAMPLES)
    assert all(content.startswith(b"\x89PNG") for content in made)
