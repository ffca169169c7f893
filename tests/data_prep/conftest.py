"""`polyp prepare` on tiny data sets, and the real ones where POLYP_TEST_DATA names them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sets import write_set

from polyp_monai.cli.main import main


@pytest.fixture
def small_set(tmp_path: Path) -> Path:
    """Ten frames of five sequences: images/seq0_0.png ..."""
    return write_set(tmp_path / "raw", [f"seq{i // 2}_{i % 2}" for i in range(10)])


@pytest.fixture
def prepare(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `polyp prepare`: (exit status, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["prepare", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def real_data() -> Path:
    place = os.environ.get("POLYP_TEST_DATA")
    if not place:
        pytest.skip("POLYP_TEST_DATA is not set")
    return Path(place)
