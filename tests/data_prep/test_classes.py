"""Masks of several classes: read by color or number, cleared of noise, split so that every part shows every class."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from data_prep import splits
from data_prep.coding import Coding, of_table, one_class_a_region
from data_prep.neopolyp import CODING
from polyp_monai.cli.main import main
from polyp_monai.data import datalist, files
from polyp_monai.data.classes import COLORS
from polyp_monai.errors import PolypError

RED, GREEN = (255, 0, 0), (0, 255, 0)


def drawn(**places) -> np.ndarray:
    """A black (120, 160, 3) picture with a 40 x 40 square of each color at (row, column)."""
    picture = np.zeros((120, 160, 3), np.uint8)
    for color, (row, column) in places.items():
        picture[row : row + 40, column : column + 40] = {"red": RED, "green": GREEN, "blue": (0, 0, 255)}[color]
    return picture


def jpeg(path, picture, quality=80):
    Image.fromarray(picture).save(path, quality=quality)
    return path


def test_colors_with_the_noise_of_jpeg_are_read_as_they_were_meant(tmp_path):
    picture = drawn(red=(10, 10), green=(60, 100))
    numbers, noise = CODING.read(jpeg(tmp_path / "a.jpg", picture))
    meant = (picture == RED).all(-1) + 2 * (picture == GREEN).all(-1)
    assert noise > 100
    assert set(np.unique(numbers)) == {0, 1, 2}
    # chroma of JPEG has half the resolution: an edge may be off by a pixel, and no class by another
    assert np.mean(numbers != meant) < 0.02
    assert not ((numbers == 1) & (meant == 2)).any()


def test_polyps_of_two_classes_that_touch_keep_theirs_and_noise_does_not():
    numbers = np.zeros((60, 100), np.uint8)
    numbers[10:50, 10:50], numbers[10:50, 50:90] = 1, 2
    assert (one_class_a_region(numbers) == numbers).all()
    noisy = numbers.copy()
    noisy[10:12, 12:40] = 2  # a rim of the other class: too little to be meant
    assert (one_class_a_region(noisy) == numbers).all()


def test_a_color_that_no_class_has_is_refused(tmp_path):
    with pytest.raises(PolypError, match=r"of the mask has colors like \[0, 0, 25[45]\], of no class"):
        CODING.read(jpeg(tmp_path / "a.jpg", drawn(red=(10, 10), blue=(60, 100))))


def test_indices_of_a_palette_are_read_whatever_its_colors(tmp_path):
    numbers = np.array([[0, 3], [7, 3]], np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette([9, 9, 9] * 8)
    image.save(tmp_path / "a.png")
    found, _ = Coding(("a", "b"), (7, 3)).read(tmp_path / "a.png")
    assert found.tolist() == [[0, 2], [1, 2]]
    with pytest.raises(PolypError, match="index 3: of no class"):
        Coding(("a",), (7,)).read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("name,colour\na,#ff0000\n", "needs columns name and color, or name and index; has name, colour"),
        ("name,color,index\na,#ff0000,1\n", "needs columns name and color, or name and index"),
        ("name,color\na,red\n", "line 2: color 'red': expected #rrggbb"),
        ("name,index\na,300\n", "line 2: index '300': expected a whole number"),
        ("name,color\na,#ff0000\nb,255 0 0\n", "line 3: color 255 0 0 is there twice"),
        ("name,index\na,0\n", "line 2: index 0 is the background's"),
        ("name,index\na b,1\n", "a class is one word"),
        ("name,index\na,1\na,2\n", "each needs a name of its own"),
        ("name,index\nuncertain,1\n", "not uncertain"),
        ("name,index\n", "expected a list of 1 to 8 names"),
    ],
)
def test_a_table_that_cannot_be_meant(tmp_path, text, wrong):
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(PolypError, match=wrong):
        of_table(tmp_path / "classes.csv")


def test_a_table_of_colors(tmp_path):
    (tmp_path / "t.csv").write_text("name,color\nadenoma,#FF0000\nhyperplastic,0 255 0\nbackground,#0000ff\n")
    found = of_table(tmp_path / "t.csv")
    assert found == Coding(("adenoma", "hyperplastic"), (RED, GREEN), ((0, 0, 255),))
    numbers, _ = found.read(jpeg(tmp_path / "a.jpg", drawn(red=(10, 10), blue=(60, 100))))
    assert set(np.unique(numbers)) == {0, 1}


@pytest.mark.parametrize("ratios", [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2)])
def test_every_part_gets_its_share_of_each_class(ratios):
    shown = {f"f{i:03}": ("a",) if i % 5 else ("b",) for i in range(200)}
    groups = {name: f"g{int(name[1:]) // 2}" if name < "f100" else name for name in shown}
    found = splits.assign(splits.Plan("ratio", ratios=ratios), groups, classes=shown)
    for split, share in zip(("training", "validation", "test"), ratios, strict=True):
        counts = Counter(shown[name] for name, part in found.items() if part == split)
        assert abs(counts[("b",)] - 40 * share) <= 2
        assert abs(counts[("a",)] - 160 * share) <= 3
    assert len({(groups[name], part) for name, part in found.items()}) == len(set(groups.values()))


@pytest.fixture
def neopolyp(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        image, mask = tmp_path / f"bkai/train/f{number}.jpeg", tmp_path / f"bkai/train_gt/f{number}.jpeg"
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        jpeg(image, rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
        jpeg(mask, drawn(red=(10, 10)) if number % 3 else drawn(green=(60, 60), red=(5, 110)))
    (tmp_path / "bkai/train/f11.jpeg").write_bytes((tmp_path / "bkai/train/f10.jpeg").read_bytes())
    return tmp_path / "bkai"


def test_neopolyp(neopolyp, tmp_path, capsys):
    assert main(["prepare", "neopolyp", "--source", str(neopolyp), "--out", str(tmp_path / "out")]) == 0
    assert "frames that show a class: neoplastic 12, non-neoplastic 4" in capsys.readouterr().out
    content = json.loads((tmp_path / "out/datalist.json").read_text())
    assert content["classes"] == ["neoplastic", "non-neoplastic"]
    entries = {e["name"]: e for split in ("training", "validation", "test") for e in content[split]}
    assert entries["f11"]["group"] == entries["f10"]["group"] == "f10"
    assert entries["f0"]["tags"] == ["neoplastic", "non-neoplastic"]
    label = tmp_path / "out" / entries["f0"]["label"]
    assert set(np.unique(files.read_classes(label, 2))) == {0, 1, 2}
    assert Image.open(label).convert("RGB").getpixel((70, 70)) == COLORS[1]
    # whoever reads it as black and white sees both
    assert (files.read_mask(label) == (files.read_indices(label) > 0)).all()
    audit = json.loads((tmp_path / "out/audit.json").read_text())
    (image,) = [image for image in audit["images"] if image["name"] == "f0"]
    assert image["classes"]["non-neoplastic"]["polyps"] == 1
    assert image["classes"]["neoplastic"]["area"] == pytest.approx(1600 / 19200, rel=0.1)


def test_the_split_of_another_list_is_kept(neopolyp, tmp_path, capsys):
    plain = ["prepare", "folder", "--images", str(neopolyp / "train"), "--masks", str(neopolyp / "train_gt")]
    assert main([*plain, "--ratios", "0.5,0.25,0.25", "--out", str(tmp_path / "one")]) == 0
    words = ["prepare", "neopolyp", "--source", str(neopolyp), "--split-of", str(tmp_path / "one")]
    assert main([*words, "--out", str(tmp_path / "two")]) == 0
    one, two = (datalist.read(tmp_path / name) for name in ("one", "two"))
    for split in ("training", "validation", "test"):
        assert {e["name"] for e in one[split]} == {e["name"] for e in two[split]}
    assert main([*words, "--ratios", "0.8,0.1,0.1", "--out", str(tmp_path / "three")]) != 0
    assert "--split-of" in capsys.readouterr().err


def test_folder_with_a_table(neopolyp, tmp_path):
    (tmp_path / "t.csv").write_text("name,color\nhyperplastic,#00ff00\nadenoma,#ff0000\n")
    words = ["--images", str(neopolyp / "train"), "--masks", str(neopolyp / "train_gt"), "--classes"]
    assert main(["prepare", "folder", *words, str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 0
    content = datalist.read(tmp_path / "out")
    assert content["classes"] == ["hyperplastic", "adenoma"]
    with pytest.raises(PolypError, match="has the classes hyperplastic, adenoma, and the bundle has a, b"):
        datalist.labelled_frames(tmp_path / "out", "training", wanted=["a", "b"])
    assert datalist.labelled_frames(tmp_path / "out", "training", wanted=["hyperplastic", "adenoma"])


@pytest.mark.real
def test_the_frame_whose_polyps_touch(real_data):
    name = "960c94b0aab4c024a573c692195f853a.jpeg"
    numbers, _ = CODING.read(real_data / "BKAI-IGH-NeoPolyp/masks" / name)
    assert (numbers == 1).sum() > 20_000
    assert 6_000 < (numbers == 2).sum() < 12_000
