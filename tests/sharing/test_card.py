"""A card says what was measured with the weights that lie beside it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from polyp_monai import provenance
from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.sharing import card


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "mine"
    for folder in ("models", "docs", "configs"):
        (root / folder).mkdir(parents=True)
    (root / "models/model.pt").write_bytes(b"weights")
    (root / "docs/README.md").write_text("# Mine\n\n## Performance\n\nWritten by hand.\n\n## Limits\n")
    (root / "configs/metadata.json").write_text('{"name": "mine", "eval_metrics": {"mean_dice": 1}}')
    return root


def run(folder, root, dice=0.8, data="kvasir", **about):
    folder.mkdir()
    mean = {"dice": dice, "iou": 0.7, "sensitivity": 0.9, "precision": 0.85, "hd95": 12.3}
    polyps = {"count": 2, "missed": 1, "mean": mean, "interval": {"dice": [0.75, 0.85]}}
    digest = provenance.digest(root / "models/model.pt")
    summary = {"run": {"weights_sha256": digest, "dataset": f"/data/{data}", "split": "test"} | about}
    summary |= {"frames_with_polyp": polyps, "frames_without_polyp": {"frames": 10, "left_empty": 7}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "frames.csv").write_text("name,dice,polyp_pixels\ngood,0.9,5\nbad,0.1,5\nempty,,0\n")
    return folder


def test_scores_go_into_card_and_metadata(root, tmp_path):
    runs = [run(tmp_path / "a", root), run(tmp_path / "b", root, dice=0.6, data="clinicdb", settings={"tta": "flip"})]
    card.fill(root, runs)
    metrics = json.loads((root / "configs/metadata.json").read_text())["eval_metrics"]
    assert metrics["mean_dice"] == 0.8
    assert metrics["clinicdb test, flip"]["mean_dice"] == 0.6
    text = (root / "docs/README.md").read_text()
    assert "| kvasir test | 2 | 0.800 (0.750 to 0.850) | 0.700 | 0.900 | 0.850 | 12 px | 1 of 2 |" in text
    assert "frame `bad`, Dice 0.100" in text
    assert "7 of 10 frames without a polyp stay empty" in text
    assert "Written by hand." in text
    assert text.index("## Performance") < text.index("0.800") < text.index("## Limits")


def test_a_second_time_replaces_the_first(root, tmp_path):
    card.fill(root, [run(tmp_path / "a", root)])
    first = (root / "docs/README.md").read_text()
    card.fill(root, [tmp_path / "a"])
    assert (root / "docs/README.md").read_text() == first
    card.fill(root, [run(tmp_path / "b", root, dice=0.5)])
    assert "0.800" not in (root / "docs/README.md").read_text()


def test_runs_of_other_weights_are_refused_and_nothing_written(root, tmp_path, capsys):
    run(tmp_path / "a", root)
    (root / "models/model.pt").write_bytes(b"trained again")
    before = (root / "docs/README.md").read_text()
    with pytest.raises(PolypError, match="other weights"):
        card.fill(root, [tmp_path / "a"])
    with pytest.raises(PolypError, match="no run"):
        card.fill(root, [root])
    assert (root / "docs/README.md").read_text() == before
    assert main(["card", str(tmp_path / "nothing"), str(tmp_path / "a")]) == 1
    assert "no such bundle" in capsys.readouterr().err


@pytest.fixture
def pictured(root, tmp_path):
    """A run whose frames are there, of which the worst is `bad`."""
    folder = run(tmp_path / "a", root)
    frame = np.full((60, 80, 3), 90, np.uint8)
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:40] = 255
    cv2.imwrite(str(folder / "frame.png"), frame)
    cv2.imwrite(str(folder / "mask.png"), mask)
    paths = f"{folder}/frame.png,{folder}/mask.png,{folder}/mask.png"
    rows = [f"good,0.9,5,{paths}", f"bad,0.1,5,{paths}", "empty,,0,,,"]
    (folder / "frames.csv").write_text("name,dice,polyp_pixels,image,truth,prediction\n" + "\n".join(rows) + "\n")
    return folder


def test_pictures_of_failures_only_where_they_are_asked_for(root, pictured):
    card.fill(root, [pictured])
    assert not (root / card.FAILURES).exists()
    card.fill(root, [pictured], pictures=True)
    drawn = cv2.imread(str(root / card.FAILURES / "1.jpg"))
    assert drawn.shape == (60, 80, 3)
    assert drawn[30, 20, 2] > drawn[30, 20, 0] + 60  # an outline, yellow
    assert "![kvasir test: frame bad](failures/1.jpg)" in (root / "docs/README.md").read_text()
    card.fill(root, [pictured])
    assert not list((root / card.FAILURES).iterdir())
    assert "failures/" not in (root / "docs/README.md").read_text()


def test_pictures_that_have_gone_and_shipped_bundles_are_refused(root, pictured, capsys):
    (pictured / "frame.png").unlink()
    with pytest.raises(PolypError, match="no longer there"):
        card.fill(root, [pictured], pictures=True)
    assert "failures/" not in (root / "docs/README.md").read_text()
    assert main(["card", "efficient_unet", str(pictured), "--pictures"]) == 1
    assert "came with polyp_monai" in capsys.readouterr().err


def test_a_card_that_is_no_utf8_is_named_and_left(root, tmp_path, capsys):
    (root / "docs/README.md").write_bytes(b"Mine: Gr\xf6\xdfe\n")
    with pytest.raises(PolypError, match=r"docs/README\.md: is no UTF-8 text"):
        card.fill(root, [run(tmp_path / "a", root)])
    assert (root / "docs/README.md").read_bytes() == b"Mine: Gr\xf6\xdfe\n"
    assert json.loads((root / "configs/metadata.json").read_text())["eval_metrics"] == {"mean_dice": 1}
