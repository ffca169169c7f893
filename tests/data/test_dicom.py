"""DICOM pictures: every color and compression, what is told of them, and files that are none."""

from __future__ import annotations

import random
import struct
import warnings
import zlib

import numpy as np
import pytest

from polyp_monai.data import datalist, dicom, files, search
from polyp_monai.errors import PolypError
from tests import dicoms

SYNTAXES = (
    "plain",
    "implicit",
    "big-endian",
    "deflated",
    "rle",
    "jpeg",
    "j2k",
    "j2k-lossless",
    "jpeg-lossless",
    "jpeg-ls",
)
LOSSY = {"jpeg": 12, "j2k": 4}  # largest difference


@pytest.mark.parametrize("name", SYNTAXES)
def test_every_transfer_syntax_gives_the_pixels(name, tmp_path):
    one, other = dicoms.scene(), dicoms.scene(left=50)
    still = dicoms.save(dicoms.in_syntax(name, one), tmp_path / "still.dcm")
    several = dicoms.save(dicoms.in_syntax(name, np.stack([one, other]), dicoms.MULTI), tmp_path / "several.dcm")
    for path, expected in ((still, one), (several / "1", one), (several / "2", other)):
        read = files.read_rgb(path)
        assert np.abs(read.astype(int) - expected).max() <= LOSSY.get(name, 0)


def test_jpeg_lossless_in_the_layouts_of_others(tmp_path):
    """As GDCM wrote it for pydicom; grey; and as YBR."""
    sample = dicoms.pydicom.data.get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False)
    assert sorted(map(tuple, np.unique(files.read_rgb(sample).reshape(-1, 3), axis=0)))[-1] == (255, 255, 255)
    grey = dicoms.save(dicoms.by_gdcm(dicoms.in_color("MONOCHROME2", dicoms.scene())), tmp_path / "grey")
    assert (files.read_rgb(grey) == dicoms.scene()[..., 1:2]).all()
    ybr = dicoms.by_gdcm(dicoms.dataset(dicoms.convert_color_space(dicoms.scene(), "RGB", "YBR_FULL")))
    ybr.PhotometricInterpretation = "YBR_FULL"
    path = dicoms.save(ybr, tmp_path / "ybr")
    assert np.abs(files.read_rgb(path).astype(int) - dicoms.scene()).max() <= 1


@pytest.mark.parametrize("name", ["RGB", "planar", "YBR_FULL", "YBR_FULL_422", "RGB 16", "PALETTE COLOR"])
def test_every_color_gives_the_pixels(name, tmp_path):
    path = dicoms.save(dicoms.in_color(name, dicoms.scene()), tmp_path / "a.dcm")
    assert np.abs(files.read_rgb(path).astype(int) - dicoms.scene()).max() <= ("YBR" in name)


@pytest.mark.parametrize("name", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_is_bright_where_it_shows_bright(name, tmp_path):
    path = dicoms.save(dicoms.in_color(name, dicoms.scene()), tmp_path / "a.dcm")
    assert (files.read_rgb(path) == dicoms.scene()[..., 1:2]).all()


def test_a_file_in_memory_is_read_alike(tmp_path):
    path = dicoms.write(tmp_path / "a.dcm", dicoms.scene())
    content = path.read_bytes()
    assert dicom.is_content(content[:132])
    assert not dicom.is_content(b"\x89PNG")
    assert (dicom.decode(content, "the upload") == dicoms.scene()).all()
    with pytest.raises(PolypError, match=r"^the upload: .* cut short"):
        dicom.decode(content[:-50], "the upload")


@pytest.mark.parametrize("name", ["frame", "1.2.840.113619.2", "frame.png", "frame.DCM", "frame.xyz"])
def test_the_content_says_what_it_is_not_the_name(name, tmp_path):
    path = dicoms.write(tmp_path / name, dicoms.scene())
    assert (files.read_rgb(path) == dicoms.scene()).all()
    assert search.search(tmp_path).images == [path]


@pytest.mark.parametrize("syntax", ["plain", "implicit", "big-endian", "deflated"])
def test_more_pixels_than_it_says_are_refused(syntax, tmp_path):
    ds = dicoms.in_syntax(syntax, dicoms.scene())
    ds.Rows = 40  # of 80
    path = dicoms.save(ds, tmp_path / "a.dcm")
    with pytest.raises(PolypError, match=r"a\.dcm: holds 23,040 bytes of pixels, and its size, colors and frames make"):
        files.read_rgb(path)


def test_an_odd_number_of_bytes_is_made_even(tmp_path):
    path = dicoms.write(tmp_path / "a.dcm", dicoms.scene((33, 25)))
    assert (files.read_rgb(path) == dicoms.scene((33, 25))).all()


def test_a_file_of_several_frames_counts_as_a_folder_of_them(tmp_path):
    frames = np.stack([dicoms.scene(left=left) for left in range(12)])
    scan = dicoms.write(tmp_path / "in/scan.dcm", frames, dicoms.MULTI)
    dicoms.write(tmp_path / "in/1.2.3.4", dicoms.scene())
    dicoms.write(tmp_path / "in/1.2.3.5", dicoms.scene())
    samples = list(datalist.frames(str(tmp_path / "in"), tmp_path / "out"))
    assert [s["output"] for s in samples] == ["1.2.3.4", "1.2.3.5", *(f"scan.dcm/{n:02}" for n in range(1, 13))]
    assert (files.read_rgb(samples[6]["image"]) == dicoms.scene(left=4)).all()
    assert [s["output"] for s in datalist.frames(str(scan / "3"), tmp_path / "out")] == ["scan.dcm/3"]
    assert len(datalist.frames(str(scan), tmp_path / "out")) == 12
    assert [s["output"] for s in datalist.frames(str(scan / "0"), tmp_path / "out")] == [
        "scan.dcm/0"
    ]  # refused as 13 is
    with pytest.raises(PolypError, match="holds 12 frames; name one"):
        files.read_rgb(scan)
    with pytest.raises(PolypError, match="no such frame; there are 12"):
        files.read_rgb(scan / "13")
    with pytest.raises(PolypError, match="is an input"):
        datalist.frames(str(scan), tmp_path / "in")


def test_what_is_no_picture_is_passed_over_and_named(tmp_path):
    dicoms.write(tmp_path / "frame", dicoms.scene())
    ct = dicoms.write(tmp_path / "ct", np.zeros((8, 8), np.uint16), "1.2.840.10008.5.1.4.1.1.2")
    directory = dicoms.write(tmp_path / "DICOMDIR", np.zeros((8, 8), np.uint8), "1.2.840.10008.1.3.10")
    film = dicoms.write(tmp_path / "film.dcm", dicoms.scene(), dicoms.VIDEO)
    ds = dicoms.compressed(dicoms.pydicom.dcmread(film), [b"\0" * 64], "1.2.840.10008.1.2.4.102", "YBR_PARTIAL_420")
    dicoms.save(ds, film)
    found = search.search(tmp_path)
    assert (found.images, found.others) == ([tmp_path / "frame"], sorted([ct, directory, film]))
    with pytest.raises(PolypError, match=r"ct: is DICOM, but no picture of a camera \(CT Image Storage"):
        files.read_rgb(ct)
    with pytest.raises(PolypError, match="`polyp video` follows"):
        files.read_rgb(film)


def test_burned_in_text_is_said_in_one_line(tmp_path):
    for name in "abc":
        dicoms.write(tmp_path / name, dicoms.scene(), BurnedInAnnotation="NO" if name == "a" else "YES")
    line = dicom.burned_in_line(datalist.frames(str(tmp_path), tmp_path / "out").burned_in)
    assert line.startswith("2 DICOM files say")
    assert line.endswith(f"{tmp_path}/b, {tmp_path}/c")


def _damage(kind: str, path) -> None:
    """One kind of a file that cannot be read."""
    ds = dicoms.dataset(dicoms.scene())
    if kind == "text":
        path.write_text("DICOM, honestly" * 50)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "only a head":
        path.write_bytes(b"\0" * 128 + b"DICM")
    elif kind == "no pixels":
        del ds.PixelData
    elif kind == "cut":
        dicoms.save(ds, path)
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "cut jpeg":
        dicoms.save(dicoms.in_syntax("jpeg", dicoms.scene()), path)
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "cut deflated":
        dicoms.save(dicoms.in_syntax("deflated", dicoms.scene()), path)
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "huge":
        ds.Rows = ds.Columns = 60000
    elif kind == "many frames":
        ds.NumberOfFrames = 2**30
    elif kind == "16 bits":
        ds = dicoms.dataset(np.zeros((8, 8), np.uint16), dicoms.SECONDARY)
    elif kind == "unknown compression":
        ds = dicoms.compressed(ds, [b"\0" * 64], "1.2.840.10008.1.2.4.94", "RGB")
    elif kind == "another size":
        other = dicoms.pillow(dicoms.scene((48, 40)), "JPEG")
        ds = dicoms.compressed(ds, [other], dicoms.uid.JPEGBaseline8Bit, "YBR_FULL_422")
    if not path.exists():
        dicoms.save(ds, path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "is no DICOM file"),
        ("empty", "is no DICOM file"),
        ("only a head", "does not say how it is encoded|cannot be read"),
        ("no pixels", "holds no pixels"),
        ("cut", r"22,940 of 23,040 bytes of its pixels are there; it is cut short"),
        ("cut jpeg", "its pixels do not end"),
        ("cut deflated", "deflated data do not end|cannot be read"),
        ("huge", "60000 x 60000 pixels; a frame of at most 67,108,864 is read"),
        ("many frames", "cut short"),
        ("16 bits", "MONOCHROME2, 1 x 16 bits"),
        ("unknown compression", "is not known here"),
        ("another size", "cannot be read|says otherwise"),
    ],
)
def test_a_bad_file_gets_one_clear_line(kind, reason, tmp_path):
    path = tmp_path / "bad.dcm"
    _damage(kind, path)
    with pytest.raises(PolypError, match=reason) as caught:
        files.read_rgb(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert [s["image"] for s in datalist.frames(str(path), tmp_path / "out")] == [str(path)]  # named, when it is read


def test_a_small_file_that_unfolds_to_a_huge_one_is_not_unfolded(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "INFLATED", 2**24)
    path = dicoms.save(dicoms.in_syntax("deflated", dicoms.scene()), tmp_path / "a.dcm")
    head = dicoms.pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength + 144
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(17)) + packer.flush()
    path.write_bytes(path.read_bytes()[:head] + bomb)
    with pytest.raises(PolypError, match="unfolds to more than 16 MiB"):
        files.read_rgb(path)


@pytest.mark.parametrize("name", SYNTAXES)
def test_damage_anywhere_is_a_polyp_error_or_a_picture(name, tmp_path):
    """Cut short it is refused; with bytes changed it is read, or refused in one line, and never the name in it."""
    whole = dicoms.save(dicoms.in_syntax(name, dicoms.scene()), tmp_path / "whole").read_bytes()
    draw, path = random.Random(name), tmp_path / "a.dcm"
    end = len(whole) - 1  # the last byte may be padding
    for _ in range(40):
        path.write_bytes(whole[: draw.randrange(end)])
        with pytest.raises(PolypError) as caught:
            files.read_rgb(path)
        assert not any(secret in str(caught.value) for secret in dicoms.SECRETS)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(132, len(whole))] = draw.randrange(256)
        path.write_bytes(damaged)
        line = _refusal(path)
        assert "\n" not in line
        assert not any(secret in line for secret in dicoms.SECRETS)


def _refusal(path) -> str:
    """The line that refuses a file; empty where it is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = files.read_rgb(path)
    except PolypError as error:
        return str(error)
    assert pixels.dtype == np.uint8
    assert pixels.shape[0] * pixels.shape[1] <= dicom.LARGEST
    return ""


def test_a_length_beyond_the_file_is_not_read_into_memory(tmp_path):
    path = dicoms.write(tmp_path / "a.dcm", dicoms.scene())
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OB\0\0") + 8
    path.write_bytes(content[:at] + struct.pack("<L", 0xFFFFFFF0) + content[at + 4 :])
    with pytest.raises(PolypError, match="cut short"):
        files.read_rgb(path)


def test_without_pydicom_one_line_names_the_extra(tmp_path, monkeypatch):
    path = dicoms.write(tmp_path / "a.dcm", dicoms.scene())
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(PolypError, match=r"pip install 'polyp_monai\[dicom\]'"):
        files.read_rgb(path)
