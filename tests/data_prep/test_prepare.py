"""`polyp prepare` as a user sees it: what it writes, what it refuses, what survives an interrupt."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_sets import frame, polyp, write_set

from data_prep.findings import Finding, count_by_code
from polyp_monai.data import SPLITS, files, lock


def listed(out: Path) -> dict:
    return json.loads((out / "datalist.json").read_text())


def codes(out: Path) -> dict[str, str]:
    return {f["code"]: f["severity"] for f in json.loads((out / "audit.json").read_text())["findings"]}


def test_it_writes_a_monai_data_list_of_files_that_are_there(small_set, tmp_path, prepare):
    out = tmp_path / "out"
    status, printed, _ = prepare("folder", "--source", small_set, "--out", out, "--group-regex", r"^(seq\d+)_")
    assert status == 0
    assert "training" in printed
    assert "audit.html" in printed
    content = listed(out)
    samples = [sample for split in ("training", "validation", "test") for sample in content[split]]
    assert len(samples) == 10
    assert content["protocol"] == {"name": "ratio", "seed": 0, "ratios": [0.8, 0.1, 0.1]}
    for sample in samples:
        assert sample["group"] == sample["name"][:4]
        assert sample["source"] == f"images/{sample['name']}.png"
        assert (out / sample["image"]).read_bytes() == (small_set / sample["source"]).read_bytes()
        mask = np.asarray(Image.open(out / sample["label"]))
        assert set(np.unique(mask)) == {0, 255}
        assert list(mask.shape[::-1]) == sample["size"]
        assert sample["polyp_area"] == pytest.approx((mask > 0).mean(), abs=1e-6)


def test_the_source_is_left_as_it_was(small_set, tmp_path, prepare):
    image = small_set / "images/seq0_0.png"
    image.chmod(0o640)
    before = {path: path.read_bytes() for path in small_set.rglob("*.png")}
    for _ in range(2):
        assert prepare("folder", "--source", small_set, "--out", tmp_path / "out")[0] == 0
    assert {path: path.read_bytes() for path in small_set.rglob("*.png")} == before
    assert stat.S_IMODE(image.stat().st_mode) == 0o640


def test_where_hard_links_fail_the_image_is_copied(small_set, tmp_path, prepare, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("not on this disk")

    monkeypatch.setattr(os, "link", refuse)
    assert prepare("folder", "--source", small_set, "--out", tmp_path / "out")[0] == 0
    copy = tmp_path / "out/images/seq0_0.png"
    assert copy.read_bytes() == (small_set / "images/seq0_0.png").read_bytes()
    assert copy.stat().st_nlink == 1


def test_twice_gives_the_same_bytes(small_set, tmp_path, prepare):
    arguments = ("folder", "--source", small_set, "--out", tmp_path / "out")
    prepare(*arguments)
    first = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()}
    prepare(*arguments)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()} == first


@pytest.mark.parametrize("nesting", ["", "set/", "download/set/"])
def test_a_zip_gives_the_same_list_as_the_folder(small_set, tmp_path, prepare, nesting):
    archive = tmp_path / "raw.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in small_set.rglob("*.png"):
            packed.write(path, nesting + path.relative_to(small_set).as_posix())
        packed.writestr("__MACOSX/images/._seq0_0.png", b"not an image")
    assert prepare("folder", "--source", small_set, "--out", tmp_path / "a")[0] == 0
    assert prepare("folder", "--source", archive, "--out", tmp_path / "b")[0] == 0
    assert (tmp_path / "a/datalist.json").read_bytes() == (tmp_path / "b/datalist.json").read_bytes()
    assert not list((tmp_path / "b").glob(".polyp-work*"))


def test_a_zip_that_reaches_outside_is_refused(tmp_path, prepare):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("images/../../evil.png", b"x")
    status, _, error = prepare("folder", "--source", archive, "--out", tmp_path / "out")
    assert status == 1
    assert "outside the archive" in error
    assert not list(tmp_path.rglob("evil.png"))
    assert not (tmp_path / "out").exists()


def test_a_damaged_zip_is_one_line(tmp_path, prepare, small_set):
    archive = tmp_path / "cut.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(small_set / "images/seq0_0.png", "images/a.png")
    content = bytearray(archive.read_bytes())
    content[60:90] = bytes(30)
    archive.write_bytes(content)
    status, _, error = prepare("folder", "--source", archive, "--out", tmp_path / "out")
    assert status == 1
    assert error.count("\n") == 1
    assert "download it again" in error


class TestBadPairs:
    """What cannot be used is refused, or left out when the user says so."""

    @pytest.fixture
    def bad_set(self, small_set: Path) -> Path:
        (small_set / "masks/seq0_0.png").unlink()
        files.write_mask(small_set / "masks/seq0_1.png", polyp((32, 32)))
        photo = small_set / "images/seq1_0.jpg"
        (small_set / "images/seq1_0.png").unlink()
        cv2.imwrite(str(photo), frame(77, (320, 240)))
        photo.write_bytes(photo.read_bytes()[:-2000])
        cv2.imwrite(str(small_set / "images/seq1_1.bmp"), frame(3))
        files.write_png(small_set / "masks/seq2_0.png", polyp() * np.uint8(2))
        return small_set

    CODES = ("missing-partner", "size-mismatch", "unreadable", "ambiguous-name", "dim-mask")

    def test_they_are_listed_and_nothing_is_written(self, bad_set, tmp_path, prepare):
        status, _, error = prepare("folder", "--source", bad_set, "--out", tmp_path / "out")
        assert status == 1
        assert error.splitlines()[-1].startswith("polyp: error: 5 bad files or pairs")
        assert "--skip-bad" in error
        lines = (
            "images/seq0_0.png: image seq0_0 has no mask",
            "mask 32 x 32",
            "cut short",
            "by extension",
            "is 2 (uint8)",
        )
        assert all(text in error for text in lines)
        assert all(code in error for code in self.CODES)
        assert not (tmp_path / "out").exists()

    def test_skip_bad_leaves_them_out_and_says_so(self, bad_set, tmp_path, prepare):
        assert prepare("folder", "--source", bad_set, "--out", tmp_path / "out", "--skip-bad")[0] == 0
        assert {"error"} == {codes(tmp_path / "out")[code] for code in self.CODES}
        names = {sample["name"] for split in SPLITS for sample in listed(tmp_path / "out")[split]}
        assert names == {"seq2_1", "seq3_0", "seq3_1", "seq4_0", "seq4_1"}

    def test_a_name_that_is_no_utf_8_is_named_and_left_out(self, small_set, tmp_path, prepare):
        for folder in ("images", "masks"):
            shutil.copy(small_set / folder / "seq0_0.png", os.fsencode(small_set / folder) + b"/caf\xe9.png")
        status, _, error = prepare("folder", "--source", small_set, "--out", tmp_path / "out")
        assert status == 1
        assert r"caf\xe9.png: its name is no UTF-8; rename it" in error
        assert not (tmp_path / "out").exists()
        assert prepare("folder", "--source", small_set, "--out", tmp_path / "out", "--skip-bad")[0] == 0
        assert codes(tmp_path / "out")["bad-name"] == "error"
        assert sum(len(listed(tmp_path / "out")[split]) for split in SPLITS) == 10

    def test_links_that_lead_nowhere_and_other_files_are_named(self, small_set, tmp_path, prepare):
        (small_set / "images/a.png").symlink_to("../annex/none")
        (small_set / "images/b.gif").write_bytes(b"GIF89a")
        status, _, error = prepare("folder", "--source", small_set, "--out", tmp_path / "out")
        assert status == 1
        assert "images/a.png: a link to ../annex/none, which is not there" in error
        assert prepare("folder", "--source", small_set, "--out", tmp_path / "out", "--skip-bad")[0] == 0
        assert codes(tmp_path / "out") == {"unreadable": "error", "passed-over": "warning"}


class TestFindings:
    """What can be used is, and is reported."""

    def test_a_photograph_is_no_mask(self, small_set, tmp_path, prepare):
        values = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
        Image.fromarray(values).save(small_set / "masks/seq1_0.png")
        status, _, error = prepare("folder", "--source", small_set, "--out", tmp_path / "out")
        assert status == 1
        assert "seq1_0.png" in error
        assert "a picture, not a mask" in error
        assert not (tmp_path / "out").exists()

    def test_odd_formats_are_taken_and_told(self, small_set, tmp_path, prepare):
        pictures = [Image.fromarray(frame(60 + i)) for i in range(5)]
        deep = Image.fromarray(np.asarray(pictures[3].convert("L")).astype(np.uint16) * 257)
        odd = [pictures[0].convert("L"), pictures[1].convert("RGBA"), pictures[2].convert("P"), deep]
        for i, picture in enumerate(odd):
            picture.save(small_set / f"images/seq{i}_0.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        (small_set / "images/seq4_0.png").unlink()
        pictures[4].save(small_set / "images/seq4_0.jpg", exif=exif)
        files.write_mask(small_set / "masks/seq0_1.png", np.zeros((48, 64), np.uint8))
        Image.fromarray(polyp()).save(small_set / "masks/seq1_1.png")
        third = polyp() * np.uint8(255)
        third[:8] = 128
        Image.fromarray(third).save(small_set / "masks/seq2_1.png")
        colors = np.zeros((48, 64, 3), np.uint8)
        colors[polyp() > 0] = (255, 0, 0)
        Image.fromarray(colors).save(small_set / "masks/seq3_1.png")
        files.write_mask(small_set / "masks/seq4_1.png", np.ones((48, 64), np.uint8))
        out = tmp_path / "out"
        assert prepare("folder", "--source", small_set, "--out", out, "--keep-inverted")[0] == 0
        found = json.loads((out / "audit.json").read_text())["findings"]
        formats = {f["message"] for f in found if f["code"] == "image-format"}
        assert len(formats) == 4
        assert {c: s for c, s in codes(out).items() if c != "image-format"} == {
            "exif-orientation": "warning",
            "empty-mask": "warning",
            "mask-0-1": "info",
            "third-value": "warning",
            "mask-colors": "info",
            "inverted-mask": "warning",
            "no-polyp": "warning",
        }
        (third_value,) = (f for f in found if f["code"] == "third-value")
        assert third_value["files"] == ["masks/seq2_1.png"]
        assert "512 pixels (16.67%)" in third_value["message"]
        assert np.array_equal(files.read_mask(out / "masks/seq1_1.png"), polyp())
        assert np.array_equal(files.read_mask(out / "masks/seq3_1.png"), polyp())

    def test_the_terminal_counts_frames(self, small_set, tmp_path, prepare):
        for name in ("seq0_0", "seq0_1", "seq1_0"):
            files.write_mask(small_set / f"masks/{name}.png", np.zeros((48, 64), np.uint8))
        _, printed, _ = prepare("folder", "--source", small_set, "--out", tmp_path / "out")
        assert "warning: empty mask: 3 frames" in printed.splitlines()[1]

    def test_findings_are_counted_by_what_they_concern(self):
        found = [
            Finding("several-copies", "info", (), "2 copies"),
            Finding("missing-partner", "error", ("a.png",), "no mask"),
            Finding("missing-partner", "error", ("b.png",), "no mask"),
            Finding("near-duplicate", "info", ("a", "b"), "alike", names=("a", "b")),
            Finding("near-duplicate", "info", ("b", "c"), "alike", names=("b", "c")),
        ]
        expected = ["missing partner: 2 files", "near duplicate: 3 frames", "several copies: 1 finding"]
        assert count_by_code(found) == expected

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    @pytest.mark.parametrize("color", [0, 255])
    def test_a_mask_that_is_drawn_in_alpha_is_refused(self, small_set, tmp_path, prepare, mode, color):
        layers = [np.full((48, 64), color, np.uint8)] * (len(mode) - 1) + [polyp() * np.uint8(255)]
        Image.merge(mode, [Image.fromarray(layer) for layer in layers]).save(small_set / "masks/seq0_0.png")
        out = tmp_path / "out"
        status, _, error = prepare("folder", "--source", small_set, "--out", out)
        assert status == 1
        assert "masks/seq0_0.png: the mask is drawn in the alpha channel" in error
        assert prepare("folder", "--source", small_set, "--out", out, "--skip-bad")[0] == 0
        assert codes(out)["alpha-mask"] == "error"

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_a_mask_with_an_even_alpha_is_read_by_its_colors(self, small_set, tmp_path, prepare, mode):
        Image.fromarray(polyp() * np.uint8(255)).convert(mode).save(small_set / "masks/seq0_0.png")
        out = tmp_path / "out"
        assert prepare("folder", "--source", small_set, "--out", out)[0] == 0
        assert np.array_equal(files.read_mask(out / "masks/seq0_0.png"), polyp())

    def test_inverted_masks_are_refused_unless_told_otherwise(self, small_set, tmp_path, prepare):
        for path in (small_set / "masks").iterdir():
            files.write_mask(path, 1 - polyp(radius=20))
        close = np.ones((48, 64), np.uint8)  # a polyp so close that it leaves only a margin is none of them
        close[[0, -1]] = close[:, [0, 1, -1]] = 0
        files.write_mask(small_set / "masks/seq0_0.png", close)
        words = ("folder", "--source", small_set, "--out", tmp_path / "out")
        status, _, error = prepare(*words)
        assert status == 1
        assert "masks/seq0_1.png: polyp on" in error
        assert "inverted-mask 9" in error
        assert not (tmp_path / "out").exists()
        status, printed, _ = prepare(*words, "--keep-inverted")
        assert status == 0
        assert "warning: inverted mask: 9 frames" in printed
        assert "full mask: 1 frame\n" in printed

    def test_a_mask_that_is_its_own_image_is_warned_of(self, small_set, tmp_path, prepare):
        (small_set / "images/seq0_0.png").unlink()
        Image.open(small_set / "masks/seq0_0.png").save(small_set / "images/seq0_0.jpg", quality=90)
        _, printed, _ = prepare("folder", "--source", small_set, "--out", tmp_path / "out")
        assert "warning: mask is image: 1 frame\n" in printed

    @pytest.mark.parametrize("turned", [False, True])
    def test_an_exif_orientation_is_gone_when_the_mask_lies_on_its_image(self, small_set, tmp_path, prepare, turned):
        """No program that applies it, or does not, can part them any more."""
        exif = Image.Exif()
        exif[0x0112] = 6
        (small_set / "images/seq0_0.png").unlink()
        Image.fromarray(frame(50)).save(small_set / "images/seq0_0.jpg", exif=exif)
        stored = np.asarray(Image.open(small_set / "images/seq0_0.jpg"))
        files.write_mask(small_set / "masks/seq0_0.png", polyp((48, 64) if turned else (64, 48)))
        assert prepare("folder", "--source", small_set, "--out", tmp_path / "out")[0] == 0
        with Image.open(tmp_path / "out/images/seq0_0.png") as image:
            assert 0x0112 not in image.getexif()
            assert np.array_equal(np.asarray(image), np.rot90(stored, -1) if turned else stored)
        assert files.read_mask(tmp_path / "out/masks/seq0_0.png").shape == ((64, 48) if turned else (48, 64))
        assert codes(tmp_path / "out") == {"exif-orientation": "warning"}

    def test_webp_becomes_png(self, small_set, tmp_path, prepare):
        (small_set / "images/seq0_0.png").unlink()
        Image.fromarray(frame(50)).save(small_set / "images/seq0_0.webp", lossless=True)
        assert prepare("folder", "--source", small_set, "--out", tmp_path / "out")[0] == 0
        assert np.array_equal(files.read_rgb(tmp_path / "out/images/seq0_0.png"), frame(50))

    def test_look_alikes_stay_on_one_side(self, small_set, tmp_path, prepare):
        """An exact and a re-encoded copy of images of other sequences, for many seeds."""
        (small_set / "images/seq3_0.png").write_bytes((small_set / "images/seq0_0.png").read_bytes())
        (small_set / "images/seq4_0.png").unlink()
        cv2.imwrite(str(small_set / "images/seq4_0.jpg"), frame(2), [cv2.IMWRITE_JPEG_QUALITY, 90])
        for seed in range(6):
            out = tmp_path / f"out{seed}"
            assert prepare("folder", "--source", small_set, "--out", out, "--seed", seed)[0] == 0
            content = listed(out)
            split = {sample["name"]: name for name in SPLITS for sample in content[name]}
            assert split["seq0_0"] == split["seq3_0"]
            assert split["seq1_0"] == split["seq4_0"]
            assert codes(out) == {"exact-duplicate": "warning", "near-duplicate": "info"}

    def test_the_page_is_self_contained(self, small_set, tmp_path, prepare):
        prepare("folder", "--source", small_set, "--out", tmp_path / "out")
        page = (tmp_path / "out/audit.html").read_text()
        assert page.count("<img") == 10
        assert "http://" not in page
        assert "https://" not in page
        assert "$" not in page
        assert "prefers-color-scheme: dark" in page
        assert 'name="viewport"' in page


class TestOutputFolder:
    """Nothing of the user's is destroyed, and a list that is there is complete."""

    def test_another_data_set_is_not_replaced(self, small_set, tmp_path, prepare):
        out = tmp_path / "out"
        other = write_set(tmp_path / "other", [f"o{i}" for i in range(10)])
        prepare("folder", "--source", small_set, "--out", out)
        before = (out / "datalist.json").read_bytes()
        status, _, error = prepare("folder", "--source", other, "--out", out)
        assert (status, error.count("\n")) == (1, 1)
        assert "already holds raw; give another --out or --overwrite" in error
        assert (out / "datalist.json").read_bytes() == before
        assert prepare("folder", "--source", other, "--out", out, "--overwrite")[0] == 0
        assert sorted(p.name for p in (out / "images").iterdir()) == [f"o{i}.png" for i in range(10)]

    def test_files_of_the_user_are_never_touched(self, small_set, tmp_path, prepare):
        out = tmp_path / "photos"
        (out / "images").mkdir(parents=True)
        (out / "images/seq0_0.png").write_text("mine")
        for extra in ([], ["--overwrite"]):
            status, _, error = prepare("folder", "--source", small_set, "--out", out, *extra)
            assert status == 1
            assert "files polyp did not write" in error
        assert [p.name for p in out.rglob("*") if p.is_file()] == ["seq0_0.png"]

    def test_files_put_into_a_prepared_folder_survive(self, small_set, tmp_path, prepare):
        out = tmp_path / "out"
        prepare("folder", "--source", small_set, "--out", out)
        (out / "images/note.txt").write_text("mine")
        (small_set / "images/seq0_0.png").unlink()
        (small_set / "masks/seq0_0.png").unlink()
        assert prepare("folder", "--source", small_set, "--out", out, "--overwrite")[0] == 0
        assert (out / "images/note.txt").read_text() == "mine"
        assert not (out / "images/seq0_0.png").exists()

    @pytest.mark.parametrize("words", [["--seed", "7"], ["--ratios", "0.6,0.2,0.2"], ["--protocol", "kfold"]])
    def test_another_split_is_not_written_over_the_first(self, words, small_set, tmp_path, prepare):
        arguments = ["folder", "--source", small_set, "--out", tmp_path / "out"]
        prepare(*arguments)
        before = (tmp_path / "out/datalist.json").read_bytes()
        status, _, error = prepare(*arguments, *words)
        assert (status, error.count("\n")) == (1, 1)
        assert "already holds raw with another protocol; give another --out or --overwrite" in error
        assert (tmp_path / "out/datalist.json").read_bytes() == before
        assert prepare(*arguments, *words, "--overwrite")[0] == 0
        assert (tmp_path / "out/datalist.json").read_bytes() != before

    def test_the_same_again_leaves_what_is_there(self, small_set, tmp_path, prepare):
        """A mask that somebody corrected by hand is not taken back."""
        arguments = ["folder", "--source", small_set, "--out", tmp_path / "out"]
        prepare(*arguments)
        corrected = tmp_path / "out/masks/seq0_0.png"
        files.write_mask(corrected, polyp(radius=3))
        status, printed, _ = prepare(*arguments)
        assert status == 0
        assert "nothing was written" in printed
        assert np.array_equal(files.read_mask(corrected), polyp(radius=3))
        files.write_mask(small_set / "masks/seq0_0.png", polyp(radius=4))  # another list comes of it
        status, _, error = prepare(*arguments)
        assert status == 1
        assert "its files have changed since" in error

    @pytest.mark.parametrize("kind", ["images", "masks", "emptied"])
    def test_the_same_again_finds_what_is_damaged(self, small_set, tmp_path, prepare, kind):
        arguments = ["folder", "--source", small_set, "--out", tmp_path / "out"]
        prepare(*arguments)
        file = tmp_path / "out" / kind.replace("emptied", "masks") / "seq0_0.png"
        content = file.read_bytes()
        file.unlink()  # it may be the source's
        file.write_bytes(content[:60])
        if kind == "emptied":
            files.write_mask(file, 0 * polyp())
        status, _, error = prepare(*arguments)
        assert (status, "its files have changed since" in error) == (1, True)
        assert prepare(*arguments, "--overwrite")[0] == 0
        assert file.read_bytes() == content

    def test_a_run_that_fails_leaves_the_set_before_it(self, small_set, tmp_path, prepare, monkeypatch):
        arguments = ["folder", "--source", small_set, "--out", tmp_path / "out"]
        prepare(*arguments)
        before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
        monkeypatch.setattr(files, "write_mask", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(*arguments, "--seed", "7", "--overwrite")
        assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("out", ["raw", "raw/images/out", "."])
    def test_source_and_output_must_not_lie_in_each_other(self, small_set, prepare, monkeypatch, out):
        monkeypatch.chdir(small_set.parent)
        assert prepare("folder", "--source", "raw", "--out", out)[0] == 1
        assert len(list(small_set.rglob("*"))) == 22

    def test_an_interrupt_leaves_no_list_and_the_next_run_finishes(self, small_set, tmp_path, prepare, monkeypatch):
        out = tmp_path / "out"
        real = files.write_mask
        done: list[Path] = []

        def interrupted(path: Path, *rest: object) -> None:
            if len(done) == 3:
                raise KeyboardInterrupt
            done.append(path)
            real(path, *rest)

        monkeypatch.setattr(files, "write_mask", interrupted)
        status, _, error = prepare("folder", "--source", small_set, "--out", out)
        assert status == 130
        assert error.startswith("polyp: interrupted")
        assert not (out / "datalist.json").exists()
        monkeypatch.setattr(files, "write_mask", real)
        assert prepare("folder", "--source", small_set, "--out", out)[0] == 0
        assert not list(out.rglob(".partial-*"))

    @pytest.mark.skipif(sys.platform == "win32", reason="has no limit of the size of files")
    @pytest.mark.parametrize("what", ["folder", "synthetic"])
    def test_a_disk_without_room_is_one_line_and_leaves_nothing(self, what, small_set, tmp_path):
        cv2.imwrite(str(small_set / "images/seq0_0.bmp"), frame(0, (640, 480)))  # too large for what is left
        (small_set / "images/seq0_0.png").unlink()
        files.write_mask(small_set / "masks/seq0_0.png", polyp((640, 480)))
        source = ["--source", str(small_set)] if what == "folder" else ["--count", "3"]
        code = (
            "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))\n"
            "def refuse(*_): raise OSError('another disk')\n"
            "os.link = refuse\n"
            "from polyp_monai.cli.main import main; sys.exit(main(['prepare', *sys.argv[2:]]))"
        )
        words = [sys.executable, "-c", code, "20000", what, *source, "--out", str(tmp_path / "out")]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert done.stderr.splitlines()[-1] == f"polyp: error: {tmp_path / 'out'}: File too large"
        assert not (tmp_path / "out").exists()

    def test_two_runs_at_once_do_not_meet(self, small_set, tmp_path, prepare):
        with lock.held(tmp_path / "out"):
            status, _, error = prepare("folder", "--source", small_set, "--out", tmp_path / "out")
            assert (status, error.count("\n")) == (1, 1)
            assert f"another run is writing there (process {os.getpid()} on " in error
        assert prepare("folder", "--source", small_set, "--out", tmp_path / "out")[0] == 0
        assert not (tmp_path / "out" / lock.NAME).exists()

    @pytest.mark.slow
    def test_an_interrupt_ends_a_long_run_at_once(self, tmp_path):
        words = ["prepare", "synthetic", "--count", "100000", "--out", str(tmp_path / "out")]
        process = subprocess.Popen([sys.executable, "-m", "polyp_monai", *words], stderr=subprocess.PIPE, text=True)
        while not list(tmp_path.glob("out/.polyp-work-*/images/*.jpg")):
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        assert time.monotonic() - began < 2
        assert process.returncode == 130
        assert error.startswith("polyp: interrupted")
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("moment", [0.3, 0.6, 0.9, 1.2, 1.5])
    def test_a_killed_run_can_be_repeated(self, tmp_path, prepare, moment):
        source = write_set(tmp_path / "raw", [f"f{i}" for i in range(300)])
        out = tmp_path / "out"
        command = [sys.executable, "-m", "polyp_monai", "prepare", "folder", "--source", str(source), "--out", str(out)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (out / "datalist.json").exists():
            listed(out)
        assert prepare("folder", "--source", source, "--out", out)[0] == 0
        assert not [p for p in out.rglob(".*") if p.name != ".polyp-prepare.json"]
        assert sum(len(listed(out)[split]) for split in SPLITS) == 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kvasir-seg"], "--source"),
        (["kvasir-seg", "--source", "nowhere"], "no such folder or zip"),
        (["kvasir-seg", "--source", "empty"], "holds no image"),
        (["kvasir-seg", "--source", "text.txt"], "neither a folder nor a zip"),
        (["kvasir-seg", "--source", "raw"], "not Kvasir-SEG"),
        (["cvc-clinicdb", "--source", "raw"], "not CVC-ClinicDB"),
        (["kvasir-seg", "--source", "raw", "--protocol", "grouped"], "offers official, pranet, ratio, kfold"),
        (["folder", "--source", "raw", "--ratios", "0.8,0.1,0.2"], "sum to 1"),
        (["folder", "--source", "raw", "--ratios", "0.8,0.2"], "three numbers"),
        (["folder", "--source", "raw", "--folds", "5"], "no meaning for the protocol ratio"),
        (["folder", "--source", "raw", "--protocol", "kfold", "--folds", "50"], "cannot fill 50 splits"),
        (["folder", "--source", "raw", "--count", "5"], "not an option of folder"),
        (["kvasir-seg", "--source", "raw", "--group-regex", "x"], "not an option of kvasir-seg"),
        (["folder", "--images", "raw/images"], "give both"),
        (["folder", "--images", "raw/images", "--masks", "nowhere"], "nowhere: no such folder"),
        (["folder", "--source", "raw/images"], "--mask-suffix"),
        (["folder", "--source", "raw", "--group-regex", "(seq[0-3])"], "does not match 2 names: seq4_0, seq4_1"),
        (["folder", "--source", "raw", "--group-regex", "seq"], "no capture group"),
        (["folder", "--source", "raw", "--group-regex", "(seq"], "not a regular expression"),
        (["folder", "--source", "raw", "--group-csv", "text.txt"], "needs columns name and group"),
        (["folder", "--source", "raw", "--group-csv", "groups.csv"], "no group for 9 names"),
        (["synthetic", "--source", "raw"], "it generates its images"),
        (["synthetic", "--count", "0"], "expected 1 to 100000"),
        (["synthetic", "--count", "1000000000"], "expected 1 to 100000"),
    ],
)
def test_a_mistake_is_one_line(small_set, prepare, monkeypatch, arguments, message):
    monkeypatch.chdir(small_set.parent)
    Path("empty").mkdir()
    Path("text.txt").write_text("words\n")
    Path("groups.csv").write_text("name,group\nseq0_0,a\n")
    status, _, error = prepare(*arguments, "--out", "out")
    assert (status, error.count("\n")) == (1, 1), error
    assert error.startswith("polyp: error: ")
    assert message in error
    assert not Path("out").exists()


def test_an_output_that_is_a_file_is_refused(small_set, tmp_path, prepare):
    (tmp_path / "out").write_text("mine")
    status, _, error = prepare("folder", "--source", small_set, "--out", tmp_path / "out")
    assert status == 1
    assert "is a file" in error


def test_help_has_an_example_and_comes_without_heavy_imports():
    script = (
        "import sys; from polyp_monai.cli import prepare; print({'numpy', 'cv2', 'torch', 'PIL'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-m", "polyp_monai", "prepare", "--help"], capture_output=True, text=True, check=True
    )
    assert "polyp prepare kvasir-seg --source" in shown.stdout
