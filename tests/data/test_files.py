from __future__ import annotations

import csv
import json
import sys
from io import StringIO

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polyp_monai.data import files
from polyp_monai.errors import PolypError

RGB = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.TIFF", "a.bmp"])
def test_lossless_formats_give_their_pixels(tmp_path, name):
    Image.fromarray(RGB).save(tmp_path / name)
    picture = files.read_picture(tmp_path / name)
    assert np.array_equal(picture.pixels, RGB)
    assert picture.shape == (53, 37)
    assert np.array_equal(picture.affine, np.eye(4))


def test_jpeg_is_what_pillow_decodes(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    assert np.array_equal(files.read_rgb(tmp_path / "a.jpg"), np.asarray(Image.open(tmp_path / "a.jpg")))


def test_tiff_with_the_wrong_photometric_tag_of_clinicdb(tmp_path):
    tifffile.imwrite(tmp_path / "1.tif", RGB, photometric="minisblack", planarconfig="contig")
    with pytest.raises(Exception, match="cannot identify"):
        Image.open(tmp_path / "1.tif")
    assert np.array_equal(files.read_rgb(tmp_path / "1.tif"), RGB)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(53, 37), (53, 37, 1), (53, 37, 3), (53, 37, 1, 3)])
def test_nifti_axes_affine_and_shape(tmp_path, suffix, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    affine = np.array([[0.5, 0, 0, 3], [0, -0.7, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]])
    path = tmp_path / f"a{suffix}"
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    picture = files.read_picture(path)
    assert np.allclose(picture.affine, affine)
    assert picture.pixels.shape[:2] == (37, 53)
    assert picture.pixels[5, 7].ravel()[0] == array[7, 5].ravel()[0]
    mask = (files.to_rgb(picture, path)[..., 0] > 127).astype(np.uint8)
    files.write_mask(tmp_path / f"mask{suffix}", mask, picture)
    written = nibabel.load(tmp_path / f"mask{suffix}")
    assert np.allclose(written.affine, affine)
    assert written.shape == picture.shape
    assert np.array_equal(np.asarray(written.dataobj).reshape(53, 37).T, mask)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", 200), ("RGBA", 200), ("LA", 200), ("P", 200), ("1", 255), ("CMYK", 200), ("I;16", 200)],
)
def test_every_color_mode_becomes_rgb(tmp_path, mode, expected):
    if mode == "I;16":
        image = Image.fromarray(np.full((9, 8), 200 * 257, np.uint16))
    else:
        image = Image.new("RGB", (8, 9), (200, 200, 200)).convert(mode)
    image.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    rgb = files.read_rgb(next(tmp_path.iterdir()))
    assert rgb.shape == (9, 8, 3)
    assert rgb.dtype == np.uint8
    assert abs(int(rgb[0, 0, 0]) - expected) <= 4


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.heic"])
def test_exif_orientation_is_applied_where_it_is_asked_for(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    if name == "a.heic":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()
        Image.fromarray(RGB).save(tmp_path / name, quality=-1)  # libheif turns by itself
        assert files.read_rgb(tmp_path / name, upright=True).shape == RGB.shape
        return
    Image.fromarray(RGB).save(tmp_path / name, exif=exif, lossless=True)
    assert np.array_equal(files.read_rgb(tmp_path / name), RGB)
    assert np.array_equal(files.read_rgb(tmp_path / name, upright=True), np.rot90(RGB, -1))


def test_without_its_decoder_heic_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PolypError, match=r"a\.heic: HEIC needs pillow-heif; pip install pillow-heif"):
        files.read_rgb(tmp_path / "a.heic")


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_an_opaque_alpha_channel_is_no_polyp(tmp_path, mode):
    mask = np.zeros((9, 8), np.uint8)
    mask[2:5, 2:6] = 255
    Image.fromarray(mask).convert(mode).save(tmp_path / "m.png")
    assert np.array_equal(files.read_mask(tmp_path / "m.png"), mask > 0)
    assert np.array_equal(files.read_map(tmp_path / "m.png"), mask > 0)


@pytest.mark.parametrize("level", [2, 38, 100, 127])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_dim_mask_is_refused(tmp_path, level, kind):
    mask = np.zeros((9, 8), kind)
    mask[2:5, 2:6] = level * (257 if kind == np.uint16 else 1)
    Image.fromarray(mask).save(tmp_path / "m.tif")
    with pytest.raises(files.MaskError, match=r"m\.tif: the mask's largest value is .* too dark for a polyp"):
        files.read_mask(tmp_path / "m.tif")


@pytest.mark.parametrize("color", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_mask_drawn_in_the_alpha_channel_is_refused(tmp_path, color, mode):
    layer = Image.new("L", (8, 9), color).convert("RGB").convert(mode)
    alpha = np.zeros((9, 8), np.uint8)
    alpha[2:5, 2:6] = 255
    layer.putalpha(Image.fromarray(alpha))
    layer.save(tmp_path / "m.png")
    for read in (files.read_mask, files.read_map):
        with pytest.raises(files.MaskError, match="drawn in the alpha channel"):
            read(tmp_path / "m.png")


def test_white_on_a_transparent_ground_is_a_mask(tmp_path):
    pixels = np.zeros((9, 8, 4), np.uint8)
    pixels[2:5, 2:6] = 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert np.array_equal(files.read_mask(tmp_path / "m.png"), pixels[..., 0] > 0)


def test_a_photograph_is_no_mask(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "m.png")
    with pytest.raises(files.MaskError, match="a picture, not a mask"):
        files.read_mask(tmp_path / "m.png")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], [0, 1]),
        ([0, 1], [0, 1]),
        ([3, 128], [0, 1]),
        ([127, 250], [0, 1]),
        ([0, 0], [0, 0]),
        ([1, 1], [1, 1]),
    ],
)
def test_masks_are_thresholded_in_the_middle(tmp_path, values, expected):
    Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "m.png")
    assert files.read_mask(tmp_path / "m.png").tolist() == [expected]


def test_colored_mask_takes_the_largest_channel(tmp_path):
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [90, 90, 90]]], np.uint8)).save(tmp_path / "m.png")
    assert files.read_mask(tmp_path / "m.png").tolist() == [[1, 1, 0]]


def test_written_mask_is_0_255_and_reads_back(tmp_path):
    mask = (RGB[..., 0] > 90).astype(np.uint8)
    files.write_mask(tmp_path / "m.png", mask)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "m.png")), mask * 255)
    assert np.array_equal(files.read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".nii.gz"])
def test_truncated_file_is_one_clear_line(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    if suffix == ".nii.gz":
        nibabel.save(nibabel.Nifti1Image(RGB, np.eye(4)), path)
    else:
        Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PolypError, match=r"cut\.") as error:
        files.read_picture(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_other_content_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PolypError, match=r"a\.png"):
        files.read_picture(tmp_path / "a.png")


def test_absent_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(PolypError, match="no such file"):
        files.read_picture(tmp_path / "a.png")
    with pytest.raises(PolypError, match="unknown image format"):
        files.read_picture(tmp_path / "a.gif")


def test_nan_and_hounsfield_values_are_refused(tmp_path):
    for value, text in ((np.nan, "NaN"), (1400.0, "1400")):
        array = np.zeros((4, 5), np.float32)
        array[1, 1] = value
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
        with pytest.raises(PolypError, match=text):
            files.read_rgb(tmp_path / "a.nii")


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    files.write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(tmp_path / "a.json", {"new": float("nan")})
    with pytest.raises(NotADirectoryError), files.atomic(tmp_path / "a.json") as partial:
        (partial / "half").write_text("no folder")
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path):
    with pytest.raises(FileExistsError) as error, files.atomic(tmp_path / "a.png") as partial:
        partial.touch(exist_ok=False)
    assert error.value.filename == str(tmp_path / "a.png")


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=2, max_size=2)))
def test_a_table_holds_any_name(rows):
    read = csv.reader(StringIO(files.csv_text(rows), newline=""), strict=True)
    assert list(read) == rows


def test_a_picture_says_which_command_wrote_it(tmp_path):
    mask = np.eye(40, 60, dtype=np.uint8)
    for suffix in (".png", ".nii.gz"):
        for command in (None, "predict"):
            files.write_mask(tmp_path / f"a{suffix}", mask, command=command)
            assert files.written_by(tmp_path / f"a{suffix}") == command
            assert np.array_equal(files.read_mask(tmp_path / f"a{suffix}"), mask)
    files.write_png(tmp_path / "b.png", mask, "predict")
    assert files.written_by(tmp_path / "b.png") == "predict"
    for name, content in (("c.png", b"\x89PNG\r\n"), ("c.nii", b"x"), ("c.txt", b"polyp predict")):
        (tmp_path / name).write_bytes(content)
        assert files.written_by(tmp_path / name) is None


def test_an_inverted_mask_is_told_from_a_large_polyp():
    polyp = np.zeros((48, 64), np.uint8)
    polyp[1:-1, 1:-1] = 1
    assert not files.is_inverted(polyp)
    polyp[:, :40] = 1  # it leaves the frame on three sides
    polyp[:, 50:] = 0
    assert not files.is_inverted(polyp)
    assert files.is_inverted(np.ones((48, 64), np.uint8))
    polyp = np.ones((48, 64), np.uint8)
    polyp[10:30, 20:50] = 0
    with pytest.raises(files.MaskError, match=r"a\.png: polyp on 80% of the mask and along its edge"):
        files.check_not_inverted(polyp, "a.png")


def maps_of(tmp_path, values, kind=np.float32):
    """m.tif: 9 x 8 pixels, of which a box holds the second of two values."""
    pixels = np.full((9, 8), values[0], kind)
    pixels[2:5, 2:6] = values[1]
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, pixels)
    return path, pixels == pixels.max()


@pytest.mark.parametrize("values", [(0, 1.0000001), (0, 1.0009), (-5e-4, 1), (0, 255)])
def test_floats_of_0_to_1_within_rounding_or_whole_numbers(tmp_path, values):
    path, box = maps_of(tmp_path, values)
    assert np.array_equal(files.read_map(path), box)
    assert np.array_equal(files.read_mask(path), box)


@pytest.mark.parametrize("values", [(0, 1.02), (0, 1.5), (0, 254.5), (-0.1, 1), (-4, 4), (0, 300)])
def test_floats_of_another_scale_are_refused_with_their_range(tmp_path, values):
    path, _ = maps_of(tmp_path, values)
    for read in (files.read_map, files.read_mask):
        with pytest.raises(PolypError, match=f"values from {values[0]:g} to {values[1]:g}; expected 0..1, or whole"):
            read(path)


@pytest.mark.parametrize("highest", [1.02, 1.9])
def test_a_frame_of_floats_that_would_be_black_is_refused(tmp_path, highest):
    path, box = maps_of(tmp_path, (0, highest))
    with pytest.raises(PolypError, match=f"values from 0 to {highest:g}; expected 0..255, 0..1"):
        files.read_rgb(path)
    path, box = maps_of(tmp_path, (0, 1.0000001))
    assert np.array_equal(files.read_rgb(path)[..., 0] == 255, box)


def test_a_map_of_negative_numbers_is_refused(tmp_path):
    with pytest.raises(PolypError, match="values from -4 to 4; a map is"):
        files.read_map(maps_of(tmp_path, (-4, 4), np.int16)[0])


def test_pictures_of_twelve_bits_are_told(caplog):
    for highest, told in ((4095, True), (255, True), (4096, False), (0, False)):
        caplog.clear()
        files.to_rgb(files.Picture(np.full((4, 4), highest, np.uint16), np.eye(4), (4, 4)), "a.png")
        assert ("a.png: 16 bits with values up to" in caplog.text) == told


def test_a_video_among_the_frames_is_sent_to_its_command(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"nothing")
    with pytest.raises(PolypError, match="`polyp video`"):
        files.read_picture(tmp_path / "clip.mp4")
