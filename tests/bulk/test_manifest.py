"""Manifests that can be used, and what is said of those that cannot. Nothing of Ray is started."""

from __future__ import annotations

import pytest

pq = pytest.importorskip("pyarrow.parquet")

from polyp_monai.bulk import manifest  # noqa: E402
from polyp_monai.bulk.store import Store  # noqa: E402
from tests.cli.conftest import fails  # noqa: E402


def parquet(target, /, **columns):
    import pyarrow as pa

    pq.write_table(pa.table(columns), target)
    return target


def test_the_jobs_copy_has_a_number_a_row_and_absolute_paths(tmp_path):
    given = parquet(
        tmp_path / "m.parquet", id=[3, 1], path=["a.png", "s3://bucket/b.mp4"], first=[None, 0], last=[None, 24]
    )
    store = Store(str(tmp_path / "out"))
    entries = list(manifest.of_file(str(given)))
    assert manifest.write(entries, store) == (2, manifest.digest(entries))
    rows = pq.read_table(tmp_path / "out" / manifest.NAME).to_pylist()
    assert rows == [
        {"row": 0, "id": "3", "path": str(tmp_path / "a.png"), "first": None, "last": None},
        {"row": 1, "id": "1", "path": "s3://bucket/b.mp4", "first": 0, "last": 24},
    ]


def test_a_folder_is_a_manifest_of_its_pictures(tmp_path):
    for name in ("b/2.png", "a/1.jpg", "a/notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    found = [entry.path for entry in manifest.of_inputs([str(tmp_path / "in")])]
    assert found == [str(tmp_path / "in" / name) for name in ("a/1.jpg", "b/2.png")]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"id": ["1", "1"], "path": ["a.png", "b.png"]}, "1: two rows of the manifest have this id"),
        ({"id": ["1"], "file": ["a.png"]}, "the column path is missing; there are id, file"),
        ({"id": ["1", None], "path": ["a.png", "b.png"]}, "lacks its id"),
        ({"id": ["1"], "path": ["a.mp4"], "first": [5], "last": [4]}, "1 is frames 5 to 4"),
        ({"id": ["1"], "path": ["a.mp4"], "first": ["x"], "last": ["y"]}, "cannot be read as a manifest"),
        ({"id": [], "path": []}, "the manifest is empty"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_line(trained, tmp_path, capsys, columns, text):
    path = parquet(tmp_path / "m.parquet", **columns)
    words = ["predict", trained, "--manifest", path, "--out", tmp_path / "out", "--engine", "ray"]
    assert text in fails(capsys, *words)
    assert not (tmp_path / "out" / "job.json").exists()


def test_what_is_no_parquet_or_not_there(trained, tmp_path, capsys):
    words = ["predict", trained, "--out", tmp_path / "out", "--engine", "ray", "--manifest"]
    (tmp_path / "m.csv").write_text("id,path\n1,a.png\n")
    assert "m.csv: cannot be read as a manifest" in fails(capsys, *words, tmp_path / "m.csv")
    assert "no such manifest" in fails(capsys, *words, tmp_path / "none.parquet")
    assert "is for --engine ray" in fails(capsys, "predict", trained, "--manifest", "m.parquet", status=2)


def test_rows_that_no_job_is_known_of_stay(trained, dataset, tmp_path, capsys):
    (tmp_path / "out/rows").mkdir(parents=True)
    (tmp_path / "out/rows/theirs.parquet").touch()
    words = ["predict", trained, dataset / "images", "--out", tmp_path / "out", "--engine", "ray"]
    assert "no job is known of" in fails(capsys, *words)
    assert (tmp_path / "out/rows/theirs.parquet").exists()
