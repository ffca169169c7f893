"""The cache on disk: what memory would hold, found again, and never stale."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from monai.transforms import Compose, EnsureTyped, Lambdad, RandomizableTransform

from polyp_monai.data import datalist, files, mapped
from polyp_monai.data.loading import JoinedCacheDataset
from polyp_monai.data.mapped import MappedDataset
from polyp_monai.data.transforms import FitFramed, LoadPictured
from polyp_monai.errors import PolypError, root_cause


class Half(RandomizableTransform):
    def __call__(self, data):
        return {**data, "image": data["image"] / 2}


def transforms(size: int = 64, fit: str = "area") -> Compose:
    steps = [LoadPictured("image"), LoadPictured("label", mask=True, like="image")]
    steps += [FitFramed("image", size, fit, mask_keys="label"), EnsureTyped(["image", "label"], track_meta=False)]
    return Compose([*steps, Half()])


@pytest.fixture
def samples(dataset, tmp_path) -> list[dict]:
    root = shutil.copytree(dataset, tmp_path / "data")
    return datalist.labelled_frames(root, "training")[:6]


def entries(home: Path) -> int:
    return len(list(home.glob("*/index.json")))


def assert_same(one, other) -> None:
    assert len(one) == len(other)
    for i in range(len(one)):
        a, b = one[i], other[i]
        assert a.keys() == b.keys()
        for key, value in a.items():
            same = (
                torch.equal(value, b[key]) and value.stride() == b[key].stride()
                if key in ("image", "label")
                else value == b[key]
            )
            assert same, key


@pytest.mark.parametrize("fit", ["stretch", "area", "windows"])
def test_it_is_what_memory_would_hold(samples, tmp_path, fit):
    ours = MappedDataset(samples, transforms(fit=fit), tmp_path / "cache", workers=2)
    theirs = JoinedCacheDataset(samples, transforms(fit=fit), as_contiguous=False, num_workers=1, progress=False)
    assert_same(ours, theirs)
    assert_same(pickle.loads(pickle.dumps(ours)), theirs)  # as a loader's worker gets it


def test_what_is_no_uint8_is_done_each_time(samples, tmp_path):
    scaled = Compose([*transforms().transforms[:4], Lambdad("image", lambda image: image / 255)])
    ours = MappedDataset(samples, scaled, tmp_path / "cache")
    assert ours.end == 4
    assert ours[0]["image"].dtype == torch.float32
    with pytest.raises(PolypError, match="no plain image"):
        MappedDataset(samples, Compose(transforms().transforms[:2]), tmp_path / "cache")  # with meta data


def test_an_entry_is_found_again_and_nothing_is_decoded(samples, tmp_path, monkeypatch):
    first = MappedDataset(samples, transforms(), tmp_path / "cache")
    monkeypatch.setattr(MappedDataset, "_write", lambda *_: pytest.fail("was written again"))
    assert_same(MappedDataset(samples, transforms(), tmp_path / "cache"), first)


def change(path: str) -> None:
    """Another picture of the same size in bytes, with the times of the first."""
    before, content = os.stat(path), bytearray(Path(path).read_bytes())
    pixels = files.read_rgb(path)[::-1].copy()
    files.write_png(path, pixels)
    size = os.stat(path).st_size
    with open(path, "ab") as file:  # what follows the end of a PNG is not looked at
        file.write(bytes(max(0, len(content) - size)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_changed_file_is_never_read_from_the_cache(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "SETTLED", -(10**12))  # as if all files were old
    home = tmp_path / "cache"
    before = MappedDataset(samples, transforms(), home)[2]
    change(samples[2]["image"])
    after = MappedDataset(samples, transforms(), home)
    fresh = JoinedCacheDataset(samples, transforms(), as_contiguous=False, num_workers=1, progress=False)
    assert not torch.equal(after[2]["image"], before["image"])
    assert_same(after, fresh)
    assert entries(home) == 2


def test_a_file_that_changes_within_a_tick_is_read_again(samples, tmp_path):
    home = tmp_path / "cache"
    MappedDataset(samples, transforms(), home)
    assert not (home / mapped.STAMPS).exists()  # the files were written a moment ago


@pytest.mark.parametrize(
    "other",
    [
        lambda s: (s, transforms(96)),
        lambda s: (s, transforms(fit="stretch")),
        lambda s: (s[::-1], transforms()),
        lambda s: (s[:5], transforms()),
    ],
    ids=["size", "fit", "order", "fewer"],
)
def test_other_settings_and_lists_have_entries_of_their_own(samples, tmp_path, other):
    MappedDataset(samples, transforms(), tmp_path / "cache")
    data, steps = other(samples)
    ours = MappedDataset(data, steps, tmp_path / "cache")
    assert_same(ours, JoinedCacheDataset(data, steps, as_contiguous=False, num_workers=1, progress=False))
    assert entries(tmp_path / "cache") == 2


def test_other_code_has_entries_of_its_own(samples, tmp_path, monkeypatch):
    MappedDataset(samples, transforms(), tmp_path / "cache")
    monkeypatch.setattr(mapped, "_code", lambda: "edited")
    MappedDataset(samples, transforms(), tmp_path / "cache")
    assert entries(tmp_path / "cache") == 2


def test_an_entry_that_was_cut_short_is_not_read(samples, tmp_path):
    first = MappedDataset(samples, transforms(), tmp_path / "cache")
    with open(first.folder / mapped.FRAMES, "r+b") as file:
        file.truncate(100)
    with pytest.raises(PolypError, match="is damaged; delete it"):
        MappedDataset(samples, transforms(), tmp_path / "cache")
    (first.folder / mapped.INDEX).unlink()  # as a writer that was killed leaves it
    assert_same(
        MappedDataset(samples, transforms(), tmp_path / "cache"),
        JoinedCacheDataset(samples, transforms(), as_contiguous=False, num_workers=1, progress=False),
    )


def build(samples, home, written) -> None:
    write = MappedDataset._write

    def counted(self, *words):
        written.put(os.getpid())
        write(self, *words)

    MappedDataset._write = counted
    MappedDataset(samples, transforms(), home)


def test_two_processes_write_once(samples, tmp_path):
    fork = multiprocessing.get_context("fork")
    written = fork.Queue()
    both = [fork.Process(target=build, args=(samples, tmp_path / "cache", written)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert written.qsize() == 1


def test_a_frame_that_cannot_be_read_is_named(samples, tmp_path):
    Path(samples[3]["image"]).write_bytes(b"no picture")
    with pytest.raises(RuntimeError) as error:  # MONAI wraps what a transform raises; commands show the cause
        MappedDataset(samples, transforms(), tmp_path / "cache")
    assert Path(samples[3]["image"]).name in str(root_cause(error.value))
    assert entries(tmp_path / "cache") == 0
