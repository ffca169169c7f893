"""A folder as the pages assume it: prepared sets, frames, maps, a clip, a trained bundle, all of drawn frames."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs.blocks import SHORT

FRAMES = 120


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """`polyp`, `python` and `torchrun` are those of the Python that runs the tests."""
    folder = tmp_path_factory.mktemp("bin")
    for name, words in (("polyp", "-m polyp_monai"), ("python", ""), ("torchrun", "-m torch.distributed.run")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / name).chmod(0o755)
    home = str(Path(__file__).resolve().parents[2])
    paths = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "POLYP_CACHE": str(tmp_path_factory.mktemp("cache"))}
    return {**os.environ, "PYTHONPATH": home, "OMP_NUM_THREADS": "1", **paths}


def run(command: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    words = ["bash", "-euo", "pipefail", "-c", command]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1800, check=False)


def draw_sets(home: Path) -> None:
    """Drawn frames under the names of the published sets, as their publishers pack them."""
    from data_prep import cvc_clinicdb, kvasir_seg, synthetic
    from polyp_monai.data import files

    pairs = synthetic.pairs(home / "drawn", FRAMES, seed=11)
    official = kvasir_seg.published("official")
    training, test = ([name for name, split in official.items() if split == one] for one in ("training", "test"))
    kvasir = [*training[: FRAMES - 10], *test[:10]]
    clinic = sorted(cvc_clinicdb.FRAMES, key=int)[::10]
    for pair, name in zip(pairs, kvasir, strict=True):
        for kind, path in (("images", pair.image), ("masks", pair.mask)):
            target = home / "source/Kvasir-SEG" / kind / f"{name}{path.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    for pair, name in zip(pairs, clinic, strict=False):
        files.write_png(home / "CVC-ClinicDB/Original" / f"{name}.png", files.read_rgb(pair.image))
        files.write_mask(home / "CVC-ClinicDB/Ground Truth" / f"{name}.png", files.read_mask(pair.mask))
    shutil.make_archive(str(home / "kvasir-seg"), "zip", home / "source")
    for index, pair in enumerate(pairs[:40]):  # twenty sequences of two
        name = f"seq{index // 2}_{index:02d}"
        for kind, path in (("frames", pair.image), ("masks", pair.mask)):
            (home / kind).mkdir(exist_ok=True)
            shutil.copy(path, home / kind / f"{name}{path.suffix}")
    shutil.copy(pairs[0].image, home / "photo.jpg")
    shutil.rmtree(home / "source")
    shutil.rmtree(home / "drawn")


def draw_classes(home: Path) -> None:
    """Frames with masks whose colors are classes: a set as its publisher packs it, and masks with a table."""
    from data_prep import synthetic
    from polyp_monai.data import files

    colors = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 0, 0)], np.uint8)
    for pair in synthetic.pairs(home / "by_shape", 40, seed=12, by_shape=True):
        image, mask = files.read_rgb(pair.image), colors[files.read_indices(pair.mask)]
        for kind, pixels in (("train", image), ("train_gt", mask)):
            files.write_png(home / "bkai-igh-neopolyp" / kind / f"{pair.name}.png", pixels)
    for path in (home / "masks").iterdir():
        files.write_png(home / "colored" / path.name, colors[files.read_mask(path)])
    (home / "classes.csv").write_text("name,color\nneoplastic,#ff0000\nnon-neoplastic,0 255 0\n")
    shutil.rmtree(home / "by_shape")


def draw_clip(home: Path) -> None:
    from polyp_monai.video.sink import VideoSink
    from tests.video.clips import SIZE, scene

    with VideoSink(home / "clip.mp4", SIZE, 25) as sink:
        for index in range(50):
            sink.write(scene(index), index / 25)
    (home / "boxes.csv").write_text("frame,polyp,x0,y0,x1,y1\n10,a,20,20,60,60\n")


def draw_dicom(home: Path) -> None:
    """A study of a still and a file of frames, a video, and frames with masks for a data set."""
    from polyp_monai.data import files
    from tests import dicoms

    frames = {path.stem: files.read_rgb(path) for path in sorted((home / "frames").iterdir())}
    first = next(iter(frames.values()))
    dicoms.write(home / "study/IM0001", first)
    dicoms.write(home / "study/cine.dcm", np.stack([first, first[:, ::-1]]), dicoms.MULTI)
    film = dicoms.dataset(first, dicoms.VIDEO, NumberOfFrames=50)
    stream = (home / "clip.mp4").read_bytes()
    dicoms.compressed(film, [stream + b"\0" * (len(stream) % 2)], dicoms.H264, "YBR_PARTIAL_420")
    dicoms.save(film, home / "endoscopy.dcm")
    for name, pixels in frames.items():
        dicoms.write(home / f"dicom/{name}.dcm", pixels)
    shutil.copytree(home / "masks", home / "masks_drawn")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, environment) -> Path:
    """The folder; a page gets a copy."""
    home = tmp_path_factory.mktemp("docs")
    draw_sets(home)
    draw_clip(home)
    draw_dicom(home)
    draw_classes(home)
    options = " ".join(f"--{key} {value}" for key, value in SHORT.items())
    for command in (
        "polyp prepare kvasir-seg --source kvasir-seg.zip --out data/kvasir",
        "polyp prepare cvc-clinicdb --source CVC-ClinicDB --out data/clinicdb",
        "polyp prepare folder --images frames --masks masks --group-regex '^(seq[0-9]+)_' --out data/mine",
        "polyp prepare folder --images bkai-igh-neopolyp/train --masks bkai-igh-neopolyp/train_gt --out data/bkai",
        f"polyp train unet --data data/kvasir {options}",
        "polyp evaluate runs/unet --data data/kvasir --device cpu",
        "cp -r data/kvasir/masks maps",
    ):
        result = run(command, home, environment)
        assert result.returncode == 0, f"{command}\n{result.stderr[-2000:]}"
    return home
