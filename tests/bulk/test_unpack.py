"""`polyp score` over the rows of a job."""

from __future__ import annotations

import json
import shutil

import pytest

pq = pytest.importorskip("pyarrow.parquet")

from polyp_monai.bulk import unpack, worker  # noqa: E402
from polyp_monai.cli.main import main  # noqa: E402
from tests.cli.conftest import fails  # noqa: E402


def test_rows_are_scored_as_files_are(dataset, tmp_path, capsys):
    import pyarrow as pa

    truths = sorted((dataset / "masks").iterdir())[:4]
    blank = dict.fromkeys(worker.schema().names)
    rows = [
        {**blank, "row": n, "path": f"s3://frames/in/{path.stem}.jpg", "status": "done", "mask": path.read_bytes()}
        for n, path in enumerate(truths[:3])
    ]
    rows.append({**blank, "row": 3, "path": f"s3://frames/in/{truths[3].stem}.jpg", "status": "failed"})
    (tmp_path / "job/rows").mkdir(parents=True)
    (tmp_path / "truth").mkdir()
    for path in truths:
        shutil.copy(path, tmp_path / "truth")
    pq.write_table(pa.Table.from_pylist(rows, worker.schema()), tmp_path / "job/rows/a.parquet")
    words = ["score", "--pred", tmp_path / "job", "--truth", tmp_path / "truth", "--quick", "--out", tmp_path / "out"]
    (tmp_path / "job/job.json").write_text('{"state": "running"}')
    assert "the job is not complete" in fails(capsys, *words)
    (tmp_path / "job/job.json").write_text("{}")
    assert "the job is not complete" in fails(capsys, *words)
    (tmp_path / "job/job.json").write_text('{"state": "complete"}')
    assert main([*map(str, words)]) == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["run"]["truths_without_prediction"] == 1
    assert len((tmp_path / "out/frames.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(
    ("job", "rows", "said"),
    [
        ("[]", b"", "job.json: cannot be read"),
        ("{", b"", "job.json: cannot be read"),
        ('{"state": "complete"}', b"x", "a.parquet: cannot be read"),
    ],
)
def test_a_damaged_job_is_one_line(dataset, tmp_path, capsys, job, rows, said):
    (tmp_path / "job/rows").mkdir(parents=True)
    (tmp_path / "job/job.json").write_text(job)
    (tmp_path / "job/rows/a.parquet").write_bytes(rows)
    assert said in fails(
        capsys, "score", "--pred", tmp_path / "job", "--truth", dataset / "masks", "--out", tmp_path / "out"
    )


def test_no_mask_leaves_the_folder(tmp_path):
    with pytest.raises(ValueError, match="leads out of the folder"):
        unpack._below(tmp_path, "s3://frames/../../a.png")
    assert unpack._below(tmp_path, "s3://frames/a.png") == tmp_path / "frames/a.png"
