"""What the tests of jobs share: processes whose decoder is slow, or dies, by the name of the frame."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

TOKEN = secrets.token_hex(32)  # one for the whole run: Ray reads it once in a process
DECODER = """
import os, time
try:
    import PIL.Image
except ImportError:  # a tool that has none
    pass
else:
    plain = PIL.Image.open

    def slow(path, *words, **more):
        if "killer" in str(path):
            os._exit(139)
        time.sleep(float(os.environ.get("SLOW", 0)))
        return plain(path, *words, **more)

    PIL.Image.open = slow
"""


@pytest.fixture
def ray_home(tmp_path, monkeypatch) -> Path:
    """Ray for processes of this test alone: what they start takes its decoder from here."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    (tmp_path / "decoder").mkdir()
    (tmp_path / "decoder/sitecustomize.py").write_text(DECODER)
    home = Path(__file__).resolve().parents[2]
    paths = [str(tmp_path / "decoder"), str(home), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path


@pytest.fixture
def ray_here(ray_home):
    """Ray on this machine, for one worker. Its start gives up after 30 s, which a busy machine exceeds at times."""
    import ray

    for attempt in range(5):
        try:
            ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
            break
        except Exception:
            ray.shutdown()
            if attempt == 4:
                raise
    yield ray_home
    ray.shutdown()
