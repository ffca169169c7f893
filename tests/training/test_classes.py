"""Several classes on the way through a training: labels, augmentation, weights of one class, Dice a class."""

from __future__ import annotations

import csv
import logging
import shutil

import numpy as np
import pytest
import torch
import yaml
from monai.losses import DiceCELoss

from polyp_monai.bundle.locate import shipped
from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.data.augmentation import RandFieldd, RandGeometryd, RandOverlayd
from polyp_monai.data.transforms import FitFramed, LoadPictured
from polyp_monai.errors import PolypError
from polyp_monai.networks.frame_network import cap
from polyp_monai.training import checkpoints
from polyp_monai.training.handlers import ClassDice, ValidationScore
from tests.conftest import small_options

SHAPES = ["round", "sessile", "flat"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    out = tmp_path_factory.mktemp("shapes") / "set"
    assert main(["prepare", "synthetic", "--by-shape", "--count", "16", "--out", str(out)]) == 0
    return out


@pytest.fixture
def label(tmp_path):
    numbers = np.zeros((50, 70), np.uint8)
    numbers[5:20, 5:30], numbers[25:45, 35:65] = 1, 3
    files.write_indices(tmp_path / "label.png", numbers)
    files.write_png(tmp_path / "image.png", np.full((50, 70, 3), 120, np.uint8))
    return {"image": str(tmp_path / "image.png"), "label": str(tmp_path / "label.png")}, numbers


def test_a_label_has_a_channel_for_each_class(label):
    paths, numbers = label
    load = [LoadPictured("image"), LoadPictured("label", mask=True, like="image", classes=SHAPES)]
    loaded = load[1](load[0](paths))["label"]
    assert loaded.shape == (3, 70, 50)
    for channel, number in enumerate((1, 2, 3)):
        assert ((numbers == number) == loaded[channel].numpy().T).all()
    union = LoadPictured("label", mask=True)(paths)["label"]
    assert ((numbers > 0) == union[0].numpy().T).all()
    with pytest.raises(PolypError, match="holds class 3, and the list names 2"):
        LoadPictured("label", mask=True, classes=["a", "b"])(paths)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_each_channel_is_fitted_and_warped_as_if_it_were_alone(count):
    rng = np.random.default_rng(1)
    image = torch.from_numpy(rng.integers(0, 255, (3, 90, 70), dtype=np.uint8))
    label = torch.from_numpy((rng.random((count, 90, 70)) < 0.4).astype(np.uint8))
    for transform in (
        FitFramed("image", 64, "area", mask_keys="label"),
        RandGeometryd(["image", "label"], 64),
        RandFieldd(["image", "label"], "label", prob=1.0),
        RandOverlayd(["image", "label"], "label", prob=1.0),
    ):

        def seen(channels, transform=transform):
            if hasattr(transform, "set_random_state"):
                transform.set_random_state(3)
            return transform({"image": image, "label": channels})["label"]

        together = seen(label)
        for channel in range(count):
            if isinstance(transform, (RandFieldd, RandOverlayd)):
                transform.MOST = 1.0  # whether a draw is passed over depends on all polyps
            assert torch.equal(together[channel], seen(label[channel : channel + 1])[0]), transform


def test_weights_of_one_class_start_a_network_of_several(tmp_path, caplog):
    def network(channels):
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, channels, 1))

    one, three = network(1), network(3)
    checkpoints.save(tmp_path / "model.pt", one.state_dict())
    with caplog.at_level(logging.INFO):
        checkpoints.load_weights(three, tmp_path / "model.pt", start=True)
    assert "is of one class, and the network of several: each starts with its channel of 1\n" in caplog.text
    frames = torch.rand(1, 3, 8, 8)
    assert torch.allclose(three(frames), one(frames).expand(-1, 3, -1, -1))
    with pytest.raises(PolypError, match="weights of another network"):
        checkpoints.load_weights(network(3), tmp_path / "model.pt")
    with pytest.raises(PolypError, match="weights of another network"):
        checkpoints.load_weights(torch.nn.Conv2d(3, 4, 3), tmp_path / "model.pt", start=True)


def test_a_network_whose_last_layers_have_a_channel_a_class_starts_with_copies_too(tmp_path):
    from monai.networks.nets import UNet

    one, three = (UNet(2, 3, count, (4, 8), (2,), num_res_units=1).eval() for count in (1, 3))
    checkpoints.save(tmp_path / "model.pt", one.state_dict())
    checkpoints.load_weights(three, tmp_path / "model.pt", start=True)
    frames = torch.rand(1, 3, 16, 16)
    assert torch.allclose(three(frames), one(frames).expand(-1, 3, -1, -1), atol=1e-5)


def test_a_polyp_whose_class_is_in_doubt_is_there_all_the_same():
    logits = torch.full((1, 2, 8, 8), -9.0)
    logits[0, :, 2:5, 2:5] = 0.0  # each class .5: surely a polyp
    assert torch.equal(cap(logits, 3.0), logits)
    logits[0, :, 2:5, 2:5] = -1.0  # .27 and .27: less sure than the core of a polyp
    assert (cap(logits, 3.0).sigmoid().sum(1) < 0.5).all()
    single = torch.randn(2, 1, 8, 8)
    assert torch.equal(cap(single, 1.5), torch.minimum(single, single.amax((2, 3), keepdim=True) - 1.5))


def test_the_dice_of_each_class():
    label = torch.zeros(2, 10, 10)
    label[0, :4] = 1
    pred = label.clone()
    pred[1, 6:] = 1  # the other class is found where it is not
    metric, score = ClassDice(["a", "b"]), ValidationScore()
    for one in (metric, score):
        one.update(([pred, label], [label, label]))
    assert metric.compute() == {"val_dice_a": 1.0, "val_dice_b": 0.0}
    assert score.compute() == 0.5


def test_dice_bce_weighs_a_class_as_any_other():
    """DiceCELoss would not see what is found in the background: its softmax has no channel of it."""
    from monai.bundle import ConfigParser

    losses = yaml.safe_load((shipped()["unet"] / "configs/losses.yaml").read_text())
    loss = ConfigParser({"loss": losses["dice_bce"]}).get_parsed_content("loss")
    target, logits = (torch.rand(2, 1, 8, 8) < 0.5).float(), torch.randn(2, 1, 8, 8)
    assert torch.equal(loss(logits, target), DiceCELoss(sigmoid=True)(logits, target))  # of one class the very same
    empty, seen = torch.zeros(1, 2, 8, 8), torch.full((1, 2, 8, 8), 4.0)
    assert loss(seen, empty) > loss(-seen, empty) + 1
    assert DiceCELoss(sigmoid=True)(seen, empty) < DiceCELoss(sigmoid=True)(-seen, empty) + 1


def test_a_training_of_three_classes_from_weights_of_one(shapes, trained, tmp_path, capsys):
    options = small_options(epochs="1")
    out, model = tmp_path / "run", shipped()["unet"]
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("models"))
    path = out / "configs/model.yaml"
    path.write_text(
        path.read_text().replace("classes: [polyp]", f"classes: {SHAPES}").replace("out_channels: 1", "out_channels: 3")
    )
    words = ["train", str(out), "--data", str(shapes), "--weights", str(trained / "models/model.pt"), *options]
    assert main(words) == 0
    (row,) = csv.DictReader((out / "eval/training.csv").open())
    assert all(f"dice_{name}" in row for name in SHAPES)
    state = torch.load(out / "models/model.pt", weights_only=True)
    assert any(value.shape[0] == 3 for value in state.values() if value.ndim)


def test_a_list_without_classes_is_refused(dataset, tmp_path, capsys):
    words = ["train", "efficient_unet_neopolyp", "--data", str(dataset), "--pretrained", "null", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "run")]) != 0
    assert "names no classes, and the bundle has neoplastic, non-neoplastic" in capsys.readouterr().err
