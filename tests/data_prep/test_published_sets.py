"""Kvasir-SEG and CVC-ClinicDB: the facts, the refusal of what is not the set, and the real images where present."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_sets import write_set

from data_prep import cvc_clinicdb, kvasir_seg
from polyp_monai.data import files


def splits_of(out: Path) -> dict[str, list[dict]]:
    content = json.loads((out / "datalist.json").read_text())
    return {split: content[split] for split in ("training", "validation", "test")}


def test_kvasir_facts():
    facts = kvasir_seg.facts()
    assert Counter(fact["official"] for fact in facts.values()) == {"training": 880, "test": 120}
    assert Counter(fact["pranet"] for fact in facts.values()) == {"training": 900, "test": 100}
    assert sum(fact["sessile"] == "sessile" for fact in facts.values()) == 196


def test_clinicdb_facts():
    assert len(cvc_clinicdb.LAST_FRAMES) == 29
    assert [cvc_clinicdb.sequence_of(frame) for frame in (1, 25, 26, 205, 206, 612)] == [1, 1, 2, 10, 11, 29]
    assert Counter(cvc_clinicdb.published("pranet").values()) == {"training": 550, "test": 62}
    assert Counter(cvc_clinicdb.published("random").values()) == {"training": 267, "test": 345}
    assert len({cvc_clinicdb.sequence_of(frame) for frame in cvc_clinicdb.PRANET_TEST}) == 26


@pytest.fixture
def part_of_kvasir(tmp_path: Path) -> Path:
    """Twenty training and ten test names, one folder further down."""
    official = kvasir_seg.published("official")
    names = [name for name, split in official.items() if split == "training"][:20]
    names += [name for name, split in official.items() if split == "test"][:10]
    return write_set(tmp_path / "download/Kvasir-SEG", names, suffix=".jpg").parent


def test_a_partial_copy_is_taken_with_a_warning(part_of_kvasir, tmp_path, prepare):
    status, printed, _ = prepare("kvasir-seg", "--source", part_of_kvasir, "--out", tmp_path / "out")
    assert status == 0
    assert "training 18, validation 2, test 10" in printed
    assert "warning: incomplete set: 970 files" in printed
    audit = json.loads((tmp_path / "out/audit.json").read_text())
    (finding,) = (f for f in audit["findings"] if f["code"] == "incomplete-set")
    assert len(finding["files"]) == 970


def test_a_stranger_among_the_images_is_refused(part_of_kvasir, tmp_path, prepare):
    write_set(part_of_kvasir / "Kvasir-SEG", ["holiday"], suffix=".jpg")
    status, _, error = prepare("kvasir-seg", "--source", part_of_kvasir, "--out", tmp_path / "out")
    assert status == 1
    assert "holiday is not one of the 1000" in error
    assert prepare("kvasir-seg", "--source", part_of_kvasir, "--out", tmp_path / "out", "--skip-bad")[0] == 0


@pytest.fixture
def part_of_clinicdb(tmp_path: Path) -> Path:
    frames = [str(frame) for frame in range(1, 613, 6)]
    return write_set(tmp_path / "CVC", frames, "Original", "Ground Truth")


def test_sequences_stay_together(part_of_clinicdb, tmp_path, prepare):
    assert prepare("cvc-clinicdb", "--source", part_of_clinicdb, "--out", tmp_path / "out")[0] == 0
    groups = {split: {sample["group"] for sample in samples} for split, samples in splits_of(tmp_path / "out").items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 29


def test_the_pranet_split_of_clinicdb_warns_everywhere(part_of_clinicdb, tmp_path, prepare):
    _, _, error = prepare(
        "cvc-clinicdb", "--source", part_of_clinicdb, "--out", tmp_path / "out", "--protocol", "pranet"
    )
    assert "WARNING" in error
    assert "groups of the test split are also in training" in error
    for name in ("datalist.json", "audit.json"):
        assert "test scores overstate" in json.loads((tmp_path / "out" / name).read_text())["protocol"]["warning"]
    assert "This protocol leaks" in (tmp_path / "out/audit.html").read_text()


def test_a_tiff_that_pillow_refuses_becomes_a_png_of_equal_pixels(tmp_path, prepare):
    import tifffile
    from tiny_sets import frame

    source = write_set(tmp_path / "CVC", ["1", "100", "300", "600"], "Original", "Ground Truth")
    (source / "Original/1.png").unlink()
    tifffile.imwrite(source / "Original/1.tif", frame(42), photometric="minisblack", planarconfig="contig")
    assert prepare("cvc-clinicdb", "--source", source, "--out", tmp_path / "out")[0] == 0
    assert np.array_equal(files.read_rgb(tmp_path / "out/images/1.png"), frame(42))
    assert not list((tmp_path / "out").rglob("*.tif"))


@pytest.mark.real
class TestRealImages:
    def test_kvasir_official(self, real_data, tmp_path, prepare):
        assert prepare("kvasir-seg", "--source", real_data / "Kvasir-SEG", "--out", tmp_path / "out")[0] == 0
        split_of = splits_of(tmp_path / "out")
        assert [len(samples) for samples in split_of.values()] == [792, 88, 120]
        assert sum("sessile" in sample["tags"] for samples in split_of.values() for sample in samples) == 196
        findings = json.loads((tmp_path / "out/audit.json").read_text())["findings"]
        pairs = {frozenset(f["names"]) for f in findings if f["code"] == "near-duplicate"}
        assert len(pairs) == 4
        assert {"cju886ryxnsl50801r93jai7q", "cju8amfdtqi4x09871tygrgqe"} in pairs
        assert not [f for f in findings if f["severity"] != "info"]

    def test_clinicdb_by_sequence(self, real_data, tmp_path, prepare):
        assert prepare("cvc-clinicdb", "--source", real_data / "CVC-ClinicDB/PNG", "--out", tmp_path / "out")[0] == 0
        split_of = splits_of(tmp_path / "out")
        assert sum(map(len, split_of.values())) == 612
        groups = [{sample["group"] for sample in samples} for samples in split_of.values()]
        assert sum(map(len, groups)) == len(set().union(*groups)) == 29

    def test_clinicdb_tiff_and_png_hold_equal_pixels(self, real_data, tmp_path, prepare):
        source = real_data / "CVC-ClinicDB"
        assert prepare("cvc-clinicdb", "--source", source / "TIF", "--out", tmp_path / "out")[0] == 0
        samples = [sample for samples in splits_of(tmp_path / "out").values() for sample in samples]
        assert len(samples) == 24
        for sample in samples:
            image, label = (files.read_picture(tmp_path / "out" / sample[key]).pixels for key in ("image", "label"))
            assert np.array_equal(image, files.read_rgb(source / f"PNG/Original/{sample['name']}.png"))
            assert np.array_equal(label > 0, files.read_mask(source / f"PNG/Ground Truth/{sample['name']}.png") > 0)
