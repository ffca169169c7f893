"""What a worker makes of the rows of a manifest, without Ray."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

pa = pytest.importorskip("pyarrow")
pytest.importorskip("av")

import polyp_monai  # noqa: E402
from polyp_monai.bulk.worker import Worker, schema  # noqa: E402
from tests.video.clips import encode  # noqa: E402


def row(number, path, first=None, last=None):
    return {"row": number, "id": f"n{number}", "path": str(path), "first": first, "last": last}


def test_each_row_has_its_result_in_its_place(trained, dataset, tmp_path):
    images = sorted((dataset / "images").iterdir())[:5]
    (tmp_path / "bad.jpg").write_bytes(images[0].read_bytes()[:500])
    clip = encode(tmp_path / "clip.mp4", 20)
    rows = [row(n, path) for n, path in enumerate(images)]
    rows[2:2] = [
        row(10, tmp_path / "bad.jpg"),
        row(11, clip, 8, 10),
        row(12, clip, 18, 25),
        row(13, tmp_path / "none.png"),
    ]
    results = Worker(str(trained), {"threshold": 0.3}, attempts=None)._swift(rows)
    table = pa.Table.from_pylist(results, schema())
    assert table.column("row").to_pylist() == [one["row"] for one in rows]
    by_row = {one["row"]: one for one in table.to_pylist()}
    assert {number for number, one in by_row.items() if one["status"] == "failed"} == {10, 12, 13}
    assert by_row[10]["error"].startswith(f"{tmp_path}/bad.jpg: cannot be read")
    assert "has 20 frames" in by_row[12]["error"]
    assert [one["frame"] for one in by_row[11]["masks"]] == [8, 9, 10]
    bundle = polyp_monai.load(trained, threshold=0.3)
    for number, image in enumerate(images):
        one, found = by_row[number], bundle.predict(str(image))
        assert (one["width"], one["height"]) == found.size
        assert one["confidence"] == pytest.approx(float(found.probability.max()), abs=1e-3)
        assert len(one["polyps"]) == len(found.polyps)
        mask = np.asarray(Image.open(BytesIO(one["mask"]))) > 0
        assert (mask != found.mask).mean() < 1e-3
