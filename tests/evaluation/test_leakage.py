"""What a test split shares with training."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from data_prep import synthetic
from polyp_monai.data import datalist
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import leakage


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    pairs = synthetic.pairs(tmp_path_factory.mktemp("synthetic"), 12, seed=5)
    return [{"image": str(p.image), "label": str(p.mask), "group": p.group} for p in pairs]


def test_a_part_held_against_itself_is_leaked_and_the_probe_is_perfect(samples):
    found = leakage.audit(samples, [{**s, "group": ""} for s in samples])
    assert found["similar_in_training"] == found["by_similarity"] == found["test"] == len(samples)
    assert found["by_group"] == 0
    assert found["leaked"]
    assert found["copy_mask_dice"] == 1


def test_frames_of_a_sequence_are_found_by_their_group(samples):
    alone = [{**s, "group": str(i)} for i, s in enumerate(samples)]
    assert leakage.audit(alone[:3], [{**alone[-1], "group": "1"}])["by_group"] == 1


def test_frames_of_other_scenes_are_no_neighbours(samples):
    groups = list(dict.fromkeys(s["group"] for s in samples))
    test = [s for s in samples if s["group"] in groups[:2]]
    found = leakage.audit(test, [s for s in samples if s["group"] not in groups[:2]])
    assert found["similar_in_training"] == 0
    assert not found["leaked"]
    assert found["copy_mask_dice"] < 0.9


def test_a_recompressed_copy_is_a_neighbour(samples, tmp_path):
    with Image.open(samples[0]["image"]) as image:
        image.resize((image.width // 2, image.height // 2)).save(tmp_path / "copy.jpg", quality=60)
    copy = {"image": str(tmp_path / "copy.jpg"), "label": samples[0]["label"], "group": "else"}
    assert leakage.audit([samples[0]], [copy, samples[-1]])["by_similarity"] == 1
    assert np.isfinite(leakage.audit([samples[0]], [copy])["copy_mask_dice"])


def test_weights_remember_what_they_were_trained_on(dataset, tmp_path):
    leakage.save_fingerprints(str(dataset), tmp_path)
    name = datalist.read(dataset)["name"]
    remembered = leakage.load_fingerprints(tmp_path / "model.pt", name)
    split_of = {split: datalist.labelled_frames(dataset, split) for split in datalist.SPLITS}
    for split, seen in (("training", True), ("validation", False), ("test", False)):
        found = leakage.audit(split_of[split], [], remembered)
        assert found["by_weights"] == (len(split_of[split]) if seen else 0)
        assert found["leaked"] is seen
        assert found["copy_mask_dice"] is None
    renamed = leakage.load_fingerprints(tmp_path / "model.pt", "another set with groups of the same names")
    assert leakage.audit(split_of["training"], [], renamed)["by_weights"] == len(split_of["training"])  # by their looks


def test_a_damaged_memory_is_one_line(dataset, tmp_path):
    assert leakage.load_fingerprints(tmp_path / "model.pt", "") is None
    (tmp_path / leakage.TRAINED_ON).write_text('{"hashes": ["zz"]}')
    with pytest.raises(PolypError, match=r"trained_on\.json: is damaged"):
        leakage.load_fingerprints(tmp_path / "model.pt", "")


@pytest.mark.filterwarnings("error")
def test_a_split_without_a_polyp_has_no_dice_to_copy(tmp_path):
    rng = np.random.default_rng(0)
    samples = []
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
        Image.new("L", (50, 40)).save(tmp_path / f"{name}_mask.png")
        samples.append(
            {"image": str(tmp_path / f"{name}.png"), "label": str(tmp_path / f"{name}_mask.png"), "group": name}
        )
    found = leakage.audit(samples[:2], samples[2:])
    assert (found["copy_mask_dice"], found["copy_mask_iou"]) == (None, None)
