"""DICOM objects as others read them: what the standard demands, by a list, by another reader, and by a validator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from polyp_monai.bundle import dicom_out
from polyp_monai.data import dicom
from polyp_monai.errors import PolypError
from polyp_monai.metrics.regions import find_polyps
from tests import dicoms

highdicom = pytest.importorskip("highdicom")

BY = dicom_out.Algorithm("unet", "0.3.0", "ab" * 32, 0.5)
SEG_TYPE_1 = (  # PS3.3 A.51: what a segmentation must have, and filled
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality SeriesNumber Manufacturer "
    "ManufacturerModelName DeviceSerialNumber SoftwareVersions InstanceNumber ContentDate ContentTime ImageType "
    "Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit PixelRepresentation "
    "LossyImageCompression SegmentationType ContentLabel SegmentSequence NumberOfFrames PixelData "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionOrganizationSequence "
    "DimensionIndexSequence ReferencedSeriesSequence"
)
SEGMENT_TYPE_1 = (
    "SegmentNumber SegmentLabel SegmentAlgorithmType SegmentAlgorithmName SegmentedPropertyCategoryCodeSequence "
    "SegmentedPropertyTypeCodeSequence SegmentationAlgorithmIdentificationSequence"
)
SR_TYPE_1 = (  # PS3.3 A.35.3
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality SeriesNumber InstanceNumber "
    "CompletionFlag VerificationFlag ContentDate ContentTime ValueType ConceptNameCodeSequence ContentSequence "
    "CurrentRequestedProcedureEvidenceSequence"
)


def probability() -> np.ndarray:
    """(80, 96): one polyp of .8 on nothing."""
    values = np.zeros((80, 96), np.float32)
    values[20:56, 30:70] = 0.8
    return values


@pytest.fixture(params=["still", "frame"])
def made(request, tmp_path) -> dict:
    """The objects of a still, and of the second of three frames, as files."""
    pixels, frame, kind = dicoms.scene(), None, dicoms.ENDOSCOPIC
    if request.param == "frame":
        pixels, frame, kind = np.stack([pixels] * 3), 2, dicoms.MULTI
    path = dicoms.write(tmp_path / "source.dcm", pixels, kind)
    about, series = dicom_out.source(path), dicom_out.Series()
    polyps = find_polyps(probability(), 0.5, (0, 0, 96, 80))
    regions = [dicom_out.Region(polyp, 1, frame) for polyp in polyps]
    objects = {
        "seg": dicom_out.segmentation(about, probability() > 0.5, BY, series.next(about), frame),
        "empty": dicom_out.segmentation(about, probability() > 2, BY, series.next(about), frame),
        "soft": dicom_out.segmentation(about, probability(), BY, series.next(about), frame),
        "sr": dicom_out.report(about, regions, BY, series.next(about), frame),
        "none": dicom_out.report(about, [], BY, series.next(about), frame),
    }
    for name, each in objects.items():
        dicom_out.write(tmp_path / f"{name}.dcm", each)
    return {name: tmp_path / f"{name}.dcm" for name in objects} | {"source": path, "frame": frame}


def filled(ds, names: str) -> None:
    assert [name for name in names.split() if ds.get(name) in (None, "", [])] == []


def test_everything_the_standard_demands_is_there(made):
    source = dicoms.pydicom.dcmread(made["source"])
    for name in ("seg", "empty", "soft"):
        ds = dicoms.pydicom.dcmread(made[name])
        filled(ds, SEG_TYPE_1)
        filled(ds.SegmentSequence[0], SEGMENT_TYPE_1)
        (instance,) = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        (image,) = ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
        for reference in (instance, image):
            assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
            assert reference.ReferencedSOPClassUID == source.SOPClassUID
        assert image.get("ReferencedFrameNumber") == made["frame"]
    for name in ("sr", "none"):
        filled(dicoms.pydicom.dcmread(made[name]), SR_TYPE_1)
    uids = {dicoms.pydicom.dcmread(made[name]).SeriesInstanceUID for name in ("seg", "empty", "soft", "sr", "none")}
    assert len(uids) == 1  # a run is a series


def test_what_was_written_is_what_is_read(made):
    seg = highdicom.seg.segread(made["seg"])
    assert (seg.pixel_array == (probability() > 0.5)).all()
    assert not highdicom.seg.segread(made["empty"]).pixel_array.any()
    soft = highdicom.seg.segread(made["soft"])
    assert np.abs(soft.pixel_array / soft.MaximumFractionalValue - probability()).max() < 0.01
    (group,) = highdicom.sr.srread(made["sr"]).content.get_planar_roi_measurement_groups()
    area, certainty = group.get_measurements()
    assert (area.value, round(certainty.value)) == (pytest.approx(36 * 40, rel=0.05), 80)
    assert highdicom.sr.srread(made["none"]).content.get_planar_roi_measurement_groups() == []


def test_a_patient_whose_tags_break_the_rules_is_kept_as_he_is(tmp_path, capfd, caplog):
    odd = {
        "PatientID": "4" * 80,
        "PatientName": "Zebrowska^" + "J" * 80,
        "StudyID": "x" * 30,
        "AccessionNumber": "A" * 30,
    }
    with dicom_out._as_it_is():
        path = dicoms.write(tmp_path / "a.dcm", dicoms.scene(), **odd)
    about = dicom_out.source(path)
    seg = dicom_out.segmentation(about, probability() > 0.5, BY, dicom_out.Series().next(about))
    dicom_out.write(tmp_path / "seg.dcm", seg)
    with dicom_out._as_it_is():
        assert dicoms.pydicom.dcmread(tmp_path / "seg.dcm").PatientID == "4" * 80
    shown = capfd.readouterr()
    assert "Zebrowska" not in shown.out + shown.err + caplog.text


def test_a_date_that_is_none_gets_one_line_without_it(tmp_path):
    with dicom_out._as_it_is():
        path = dicoms.write(tmp_path / "a.dcm", dicoms.scene(), StudyDate="Zebrowska")
    about = dicom_out.source(path)
    with pytest.raises(PolypError, match=r"a\.dcm: no DICOM object can be made of it") as caught:
        dicom_out.segmentation(about, probability() > 0.5, BY, dicom_out.Series().next(about))
    assert "Zebrowska" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_source_may_lack_what_may_be_empty(tmp_path):
    ds = dicoms.dataset(dicoms.scene())
    for name in (*dicoms.PATIENT, "StudyDate", "StudyTime", "StudyID"):
        delattr(ds, name)
    about = dicom_out.source(dicoms.save(ds, tmp_path / "a.dcm"))
    seg = dicom_out.segmentation(about, probability() > 0.5, BY, dicom_out.Series().next(about))
    assert (seg.PatientID, seg.StudyDate) == ("", "")


def test_a_name_of_another_alphabet_comes_through(tmp_path):
    name = "Yamada^Tarou=山田^太郎"
    path = dicoms.write(tmp_path / "a.dcm", dicoms.scene(), SpecificCharacterSet="ISO_IR 192", PatientName=name)
    about = dicom_out.source(path)
    dicom_out.write(
        tmp_path / "s.dcm", dicom_out.segmentation(about, probability() > 2, BY, dicom_out.Series().next(about))
    )
    assert dicoms.pydicom.dcmread(tmp_path / "s.dcm").PatientName == name


def test_without_highdicom_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(PolypError, match=r"pip install 'polyp_monai\[dicom\]'"):
        dicom_out.import_highdicom()


def test_a_segmentation_is_no_frame_to_predict(made):
    with pytest.raises(dicom.OtherClassError, match="Segmentation Storage"):
        dicom.header(made["seg"])


@pytest.mark.slow
def test_dciodvfy_finds_no_error(made):
    """David Clunie's validator, of Debian's dicom3tools; DCIODVFY names it where it is not on the path."""
    program = os.environ.get("DCIODVFY") or shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed")
    for name in ("seg", "empty", "soft", "sr", "none"):
        told = subprocess.run([program, str(made[name])], capture_output=True, text=True).stderr
        assert "Error" not in told, f"{name}: {told}"


@pytest.mark.slow
def test_simpleitk_reads_the_same_mask(made):
    sitk = pytest.importorskip("SimpleITK")
    soft = sitk.GetArrayFromImage(sitk.ReadImage(str(made["soft"])))
    assert np.abs(soft.reshape(80, 96) / 255 - probability()).max() < 0.01
