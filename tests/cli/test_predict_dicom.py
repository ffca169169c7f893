"""`polyp predict` of DICOM: the masks, the DICOM objects beside them, and nothing of the patient anywhere else."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import polyp_monai
from polyp_monai.cli.main import main
from polyp_monai.data import files
from tests import dicoms
from tests.cli.conftest import fails

highdicom = pytest.importorskip("highdicom")


def predict(bundle, *words) -> int:
    return main(["predict", str(bundle), *map(str, words)])


@pytest.fixture
def study(tmp_path) -> Path:
    """A still without a suffix, three frames in one file, a report, a directory."""
    folder = tmp_path / "study"
    dicoms.write(folder / "IM0001", dicoms.scene(), BurnedInAnnotation="YES")
    dicoms.write(folder / "cine.dcm", np.stack([dicoms.scene(left=left) for left in (5, 25, 45)]), dicoms.MULTI)
    dicoms.write(folder / "DICOMDIR", np.zeros((8, 8), np.uint8), "1.2.840.10008.1.3.10")
    dicoms.write(folder / "report", np.zeros((8, 8), np.uint8), "1.2.840.10008.5.1.4.1.1.88.33")
    return folder


def masks(folder) -> dict[str, np.ndarray]:
    return {p.relative_to(folder).as_posix(): np.asarray(Image.open(p)) for p in sorted(folder.rglob("*.png"))}


def test_masks_are_those_of_the_same_pixels_as_png(study, sees_red, tmp_path):
    for name, left in (("IM0001", 30), ("cine.dcm/1", 5), ("cine.dcm/2", 25), ("cine.dcm/3", 45)):
        path = tmp_path / f"png/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_png(path, dicoms.scene(left=left))
    assert predict(sees_red, study, "--out", tmp_path / "of_dicom") == 0
    assert predict(sees_red, tmp_path / "png", "--out", tmp_path / "of_png") == 0
    found, expected = masks(tmp_path / "of_dicom"), masks(tmp_path / "of_png")
    assert found.keys() == expected.keys()
    for name, mask in found.items():
        assert (mask == expected[name]).all()
        assert mask.any()


def test_what_is_predicted_and_what_is_named_is_all_that_was_given(study, sees_red, tmp_path, capsys):
    (study / "cut.dcm").write_bytes((study / "IM0001").read_bytes()[:-99])
    capsys.readouterr()
    assert predict(sees_red, study, "--out", tmp_path / "out", "--json") == 1
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert [Path(row["image"]).relative_to(study).as_posix() for row in content["frames"]] == [
        "IM0001",
        *(f"cine.dcm/{n}" for n in (1, 2, 3)),
    ]
    assert content["left_out"] == [str(study / "cut.dcm")]
    assert "2 files are passed over, no picture of a known format" in shown.err
    assert "DICOMDIR" in shown.err
    assert "cut.dcm: 22,941 of 23,040 bytes of its pixels are there" in shown.err
    assert "1 DICOM file says that text" in shown.err
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert [row["mask"] for row in rows] == ["IM0001.png", "cine.dcm/1.png", "cine.dcm/2.png", "cine.dcm/3.png"]


def test_nothing_of_the_patient_leaves_but_in_dicom_objects(study, sees_red, tmp_path, capsys):
    (study / "cut").write_bytes((study / "IM0001").read_bytes()[:900])
    words = ["--dicom-out", "seg", "--overlay", "--probability", "--json"]
    assert predict(sees_red, study, "--out", tmp_path / "out", *words) == 1
    shown = capsys.readouterr()
    told = shown.out + shown.err
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            told += path.read_bytes().decode("latin1")
    assert not any(secret in told for secret in dicoms.SECRETS)


def test_segmentations_hold_the_masks_and_belong_to_their_sources(study, sees_red, tmp_path):
    out = tmp_path / "out"
    assert predict(sees_red, study, "--out", out, "--dicom-out", "seg", "--probability") == 0
    made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.seg.dcm"))
    stems = ["IM0001", *(f"cine.dcm/{n}" for n in (1, 2, 3))]
    assert made == sorted(f"{stem}{end}.seg.dcm" for stem in stems for end in ("", "_probability"))
    for stem in stems:
        seg = highdicom.seg.segread(out / f"{stem}.seg.dcm")
        assert (seg.pixel_array * 255 == np.asarray(Image.open(out / f"{stem}.png"))).all()
        source = dicoms.pydicom.dcmread(study / stem.partition("/")[0])
        assert (seg.PatientName, seg.PatientID, seg.StudyInstanceUID) == (
            source.PatientName,
            source.PatientID,
            source.StudyInstanceUID,
        )
        assert seg.segmented_property_types == [highdicom.sr.CodedConcept("68496003", "SCT", "Polyp of colon")]
        by = seg.get_segment_description(1).algorithm_identification
        assert (by.name, by.version) == (
            sees_red.name,
            json.loads((sees_red / "configs/metadata.json").read_text())["version"],
        )
        assert len(by.parameters["weights_sha256"]) == 64
    soft = highdicom.seg.segread(out / "IM0001_probability.seg.dcm").pixel_array
    assert np.abs(soft.astype(int) - np.asarray(Image.open(out / "IM0001_probability.png"))).max() <= 1


def test_reports_name_frame_and_outline(study, sees_red, tmp_path):
    out = tmp_path / "out"
    files.write_png(study / "plain.png", dicoms.scene())  # gets a mask alone
    assert predict(sees_red, study, "--out", out, "--dicom-out", "sr") == 0
    assert not (out / "plain.sr.dcm").exists()
    report = highdicom.sr.srread(out / "cine.dcm/2.sr.dcm")
    (group,) = report.content.get_planar_roi_measurement_groups()
    (first, last) = group.roi.value.min(axis=0), group.roi.value.max(axis=0)
    assert np.abs(first - (25, 20)).max() < 2
    assert np.abs(last - (65, 56)).max() < 2
    assert group.finding_type == highdicom.sr.CodedConcept("68496003", "SCT", "Polyp of colon")


def test_what_is_done_is_skipped_and_nothing_is_overwritten(study, sees_red, tmp_path, capsys):
    words = (study, "--out", tmp_path / "out", "--dicom-out", "seg")
    assert predict(sees_red, *words) == 0
    before = (tmp_path / "out/IM0001.seg.dcm").read_bytes()
    assert "exists already" in fails(capsys, "predict", sees_red, *words)
    assert predict(sees_red, *words, "--skip-existing") == 0
    assert (tmp_path / "out/IM0001.seg.dcm").read_bytes() == before
    assert predict(sees_red, *words, "--overwrite") == 0
    assert (tmp_path / "out/IM0001.seg.dcm").read_bytes() != before


def test_mistakes_of_dicom_out_get_one_line(sees_red, tmp_path, capsys):
    files.write_png(tmp_path / "a.png", dicoms.scene())
    words = ["predict", sees_red, tmp_path / "a.png", "--out", tmp_path / "out", "--dicom-out"]
    assert "none of the 1 frame is DICOM" in fails(capsys, *words, "seg")
    assert "expected png, seg or sr" in fails(capsys, *words, "SEG")
    dicoms.write(tmp_path / "b.dcm", dicoms.scene(), StudyInstanceUID="")
    words = ["predict", sees_red, tmp_path / "b.dcm", "--out", tmp_path / "out"]
    assert "1 of 1 frame got no mask" in fails(capsys, *words, "--dicom-out", "sr")
    assert predict(*map(str, words[1:])) == 0


def test_from_python(study, sees_red, caplog):
    bundle = polyp_monai.load(sees_red)
    still = bundle.predict(study / "IM0001")
    assert (still.image == dicoms.scene()).all()
    assert len(still.polyps) == 1
    found = list(bundle.predict(study / "cine.dcm"))
    assert [Path(result.source).name for result in found] == ["1", "2", "3"]
    assert (bundle.predict(study / "cine.dcm/2").mask == found[1].mask).all()
    assert len(list(bundle.predict(study))) == 4
    assert "BurnedInAnnotation" in caplog.text


def test_parts_of_a_study_go_on_until_each_frame_has_its_object(study, sees_red, tmp_path):
    words = [study, "--out", tmp_path / "out", "--dicom-out", "seg", "--skip-existing"]
    assert predict(sees_red, study, "--out", tmp_path / "out") == 0  # masks alone
    assert predict(sees_red, *words, "--part", "1/2") == 0
    objects = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.seg.dcm")}
    assert len(objects) == 2
    assert predict(sees_red, *words) == 0
    assert {path: path.stat().st_mtime_ns for path in objects} == objects
    assert len(list((tmp_path / "out").rglob("*.seg.dcm"))) == 4
    assert len((tmp_path / "out/predictions.csv").read_text().splitlines()) == 1 + 4
