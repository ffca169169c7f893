"""DICOM videos: the stream of every codec, frames of a multi-frame image, and the report of `polyp video --sr`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.video.dicom_video import Fragments
from tests import dicoms
from tests.cli.conftest import fails
from tests.dicoms import H264, HEVC, MPEG2
from tests.video import clips
from tests.video.test_run import SHOWN, picture, write_clip


def wrapped(stream: bytes, path, syntax: str = H264, pieces: int = 1, **elements):
    """A Video Endoscopic Image around a stream, in one fragment or in several."""
    ds = dicoms.dataset(dicoms.scene(), dicoms.VIDEO, NumberOfFrames=40, **elements)
    dicoms.compressed(ds, [stream + b"\0" * (len(stream) % 2)], syntax, "YBR_PARTIAL_420")
    if pieces > 1:
        ds.PixelData = dicoms.pydicom.encaps.encapsulate([stream], fragments_per_frame=pieces, has_bot=False)
    return dicoms.save(ds, path)


@pytest.mark.parametrize(
    ("codec", "suffix", "syntax", "pieces"),
    [
        ("libx264", "mp4", H264, 1),
        ("libx264", "ts", H264, 1),
        ("libx264", "mp4", f"{H264}.1", 7),
        ("libx265", "mp4", HEVC, 1),
        ("mpeg2video", "mpg", MPEG2, 1),
        ("mpeg2video", "m2v", MPEG2, 1),
    ],
)
def test_the_frames_are_those_of_the_stream(codec, suffix, syntax, pieces, tmp_path):
    plain = clips.encode(tmp_path / f"a.{suffix}", count=12, codec=codec)
    path = wrapped(plain.read_bytes(), tmp_path / "film", syntax, pieces, CineRate=25)
    expected, _ = clips.read(plain)
    frames, source = clips.read(path)
    assert (source.name, source.size, source.broken) == ("film", clips.SIZE, None)
    assert len(frames) == 12
    assert all((a.image == b.image).all() for a, b in zip(frames, expected, strict=True))
    assert frames[-1].time == pytest.approx(11 / 25, abs=0.01)


def test_the_rate_of_the_tags_is_for_a_stream_that_tells_none(tmp_path):
    stream = clips.encode(tmp_path / "a.h264", count=12).read_bytes()
    frames, _ = clips.read(wrapped(stream, tmp_path / "a.dcm", FrameTime=100))
    assert [round(frame.time, 3) for frame in frames] == [round(i / 10, 3) for i in range(12)]


def test_frames_of_a_multi_frame_image_are_a_video(tmp_path):
    frames = np.stack([clips.scene(index) for index in range(11)])
    path = dicoms.write(tmp_path / "cine", frames, dicoms.MULTI, CineRate=5)
    found, source = clips.read(path)
    assert source.rate == 5
    assert all((a.image == b).all() for a, b in zip(found, frames, strict=True))


def test_the_pieces_are_one_file(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    pieces = Fragments(tmp_path / "a", [(10, 5), (40, 0), (50, 20)])
    assert pieces.read() == bytes([*range(10, 15), *range(50, 70)])
    assert (pieces.seek(-3, 2), pieces.read(9), pieces.tell(), pieces.read(1)) == (22, bytes([67, 68, 69]), 25, b"")
    assert (pieces.seek(4), pieces.read(1), pieces.read(2)) == (4, bytes([14]), bytes([50, 51]))


def test_a_video_that_is_cut_short_gets_one_line(tmp_path):
    stream = clips.encode(tmp_path / "a.mp4", count=12).read_bytes()
    path = wrapped(stream, tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(PolypError, match=r"a.dcm: its pixels do not end; it is cut short"):
        clips.read(path)
    with pytest.raises(PolypError, match=r"a.dcm: cannot be opened as a video"):
        clips.read(wrapped(b"nothing at all " * 90, path))


def test_a_report_names_the_frames_and_outlines_of_a_video(sees_red, tmp_path, capsys):
    highdicom = pytest.importorskip("highdicom")
    write_clip(tmp_path / "clip.mp4", count=60)
    film = wrapped((tmp_path / "clip.mp4").read_bytes(), tmp_path / "film.dcm", BurnedInAnnotation="YES")
    names = {"--csv": "frames.csv", "--events": "events.json", "--sr": "report.dcm"}
    words = [word for option, name in names.items() for word in (option, str(tmp_path / name))]
    settings = ["--bundle", str(sees_red), "--runtime", "torch", "--no-crop", "--smooth", "none", "--confirm", "1/1"]
    assert main(["video", str(film), *words, *settings]) == 0
    shown = capsys.readouterr()
    assert "1 DICOM file says that text" in shown.err
    told = shown.out + shown.err + "".join((tmp_path / name).read_text() for name in ("frames.csv", "events.json"))
    assert not any(secret in told for secret in dicoms.SECRETS)

    report = highdicom.sr.srread(tmp_path / "report.dcm")
    assert report.PatientName == dicoms.PATIENT["PatientName"]
    source = dicoms.pydicom.dcmread(film)
    groups = report.content.get_planar_roi_measurement_groups()
    (event,) = json.loads((tmp_path / "events.json").read_text())["events"]
    assert event["first_frame"] == SHOWN.start
    assert [_frame(group, source) for group in groups] == [SHOWN.start + 1]  # shown for less than a second
    red = np.argwhere(picture(SHOWN.start)[..., 0] == 230)[:, ::-1]
    outline = groups[0].roi.value
    assert np.abs(outline.min(axis=0) - red.min(axis=0)).max() <= 3
    assert np.abs(outline.max(axis=0) - red.max(axis=0) - 1).max() <= 3


def _frame(group, source) -> int:
    """The number of the frame that a measurement group is of."""
    (image,) = [item for item in group.roi.ContentSequence if item.ValueType == "IMAGE"]
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    return image.ReferencedSOPSequence[0].ReferencedFrameNumber


def test_a_polyp_is_reported_again_each_second_under_its_number():
    from polyp_monai.video.run import Regions
    from polyp_monai.video.tracking import TrackedPolyp

    regions = Regions(1.0)
    place = {"box": (0, 0, 9, 9), "area": 81, "confidence": 0.9, "outline": np.zeros((4, 2), np.int32)}
    for index in range(60):
        regions.update(index, index / 25, [TrackedPolyp(number=1, seen=index != 25, **place)])
    assert [(region.number, region.frame) for region in regions.kept] == [(1, 1), (1, 27), (1, 52)]


def test_a_report_belongs_to_a_dicom_video(sees_red, tmp_path, capsys):
    write_clip(tmp_path / "clip.mp4", count=3)
    words = ["video", tmp_path / "clip.mp4", "--bundle", sees_red, "--sr"]
    assert "clip.mp4: is no DICOM file, and a DICOM report" in fails(capsys, *words, tmp_path / "a.dcm")
    film = wrapped((tmp_path / "clip.mp4").read_bytes(), tmp_path / "film.dcm")
    assert "expected a name that ends in .dcm" in fails(capsys, "video", film, *words[2:], tmp_path / "a.xml")
    assert "is the video itself" in fails(capsys, "video", film, *words[2:], film, "--overwrite")
