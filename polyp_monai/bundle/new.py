"""A new bundle from the recipe, for one's own network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from polyp_monai.bundle import locate
from polyp_monai.bundle.read import BundleConfig, classes_of, scripts_of
from polyp_monai.data import texts
from polyp_monai.errors import PolypError, root_cause, summary
from polyp_monai.sharing import trust

MODEL = """# What makes this bundle different from the others; the rest is the common recipe.

classes: [polyp]   # in the order of the network's channels
class_certainty: 0.0    # probability of its class below which a polyp's class is uncertain; with one class, nothing

network_def:
  # takes frames of 0..1 and of any size; pads them to a multiple of `divisor`, the product of the network's strides
  _target_: polyp_monai.networks.FrameNetwork
  divisor: {divisor}
  body: {body}

# any other of losses.yaml: `polyp train --loss NAME`
loss: {{_target_: polyp_monai.losses.FocalTverskyLoss, false_negative: 0.7, gamma: 1.3333}}

pretrained: null
pretrained_sha256: null
encoder_lr_scale: 1.0

image_size: 192  # side of the network's input in pixels
fit: stretch     # stretch: to image_size x image_size; area: aspect kept, as many pixels; windows: overlapping ones
crop: false      # true: cut the frame to the endoscope's picture first, without border, text and insets
epochs: 60
batch_size: 8
learning_rate: 0.0006
"""

CARD = """# {name}

`{target}`, trained with the recipe of polyp_monai.

    polyp train {folder} --data DATA
    polyp evaluate {folder} --data DATA
    polyp predict {folder} FRAMES --out MASKS

Say here on which data it was trained, what was measured, and where it fails.
"""


def create(name: str, network: str, arguments: dict[str, Any], divisor: int, out: Path) -> Path:
    """Write the bundle `out/name` and check its network.

    Args:
        name: of the bundle: letters, digits and _.
        network: "package.module.Class", or "FILE.py:Class": the file is then copied into the bundle's `scripts/`.
        arguments: of the network's constructor.
        divisor: product of the network's strides.

    Returns:
        The bundle's folder.

    Raises:
        PolypError: bad name, folder exists, network not found, or it breaks the contract; nothing is left then.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise PolypError(f"{name}: a bundle's name is letters, digits and _")
    if name in locate.shipped():
        raise PolypError(f"{name}: is a shipped bundle; give another name")
    if re.search(r"\.py:?$", network):
        raise PolypError(f"{network}: add the class in it, {network.rstrip(':')}:CLASS")
    if divisor < 1:
        raise PolypError(f"--divisor {divisor}: expected 1 or more")
    texts.check_folder(out)
    root = (out / name).resolve()
    if root.exists():
        raise PolypError(f"{root}: exists already; give another name or --out")
    partial = root.with_name(f".partial-{name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(partial, name, network, arguments, divisor)
        _check(partial, network)
        partial.replace(root)
        trust.made_here(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _write(root: Path, name: str, network: str, arguments: dict[str, Any], divisor: int) -> None:
    example = locate.shipped()["unet"]
    shutil.copytree(example, root, ignore=shutil.ignore_patterns("models", "eval", "predictions", "docs"))
    target = network
    if ".py:" in network:
        file, _, class_name = network.rpartition(":")
        if not Path(file).is_file():
            raise PolypError(f"{file}: no such file")
        (root / "scripts").mkdir()
        (root / "scripts/__init__.py").touch()
        shutil.copyfile(file, root / "scripts" / Path(file).name)
        target = f"scripts.{Path(file).stem}.{class_name}"
    body = yaml.safe_dump(
        {"_target_": target, **arguments}, default_flow_style=True, sort_keys=False, width=1000
    ).strip()
    (root / "configs/model.yaml").write_text(MODEL.format(divisor=divisor, body=body), encoding="utf-8")
    metadata = json.loads((example / "configs/metadata.json").read_text(encoding="utf-8"))
    for key in ("eval_metrics", "network_stats", "references"):
        metadata.pop(key, None)
    metadata |= {"name": name, "description": f"{target}, trained with the recipe of polyp_monai.", "authors": "you"}
    (root / "configs/metadata.json").write_text(json.dumps(metadata, indent=4) + "\n", encoding="utf-8")
    (root / "docs").mkdir()
    (root / "docs/README.md").write_text(CARD.format(name=name, target=target, folder=name), encoding="utf-8")


def _check(root: Path, name: str) -> None:
    from torch import nn

    from polyp_monai.networks import contract

    config = BundleConfig(root)
    body = _built(config, "network_def::body")
    if not isinstance(body, nn.Module):
        raise PolypError(f"{name}: is no network: it gives {type(body).__name__}, expected a torch.nn.Module")
    network = _built(config, "network_def")
    with scripts_of(root):
        contract.check(network, len(classes_of(config).names))


def _built(config: BundleConfig, key: str) -> Any:
    try:
        return config[key]
    except Exception as error:  # the user's own code can raise anything
        reason = root_cause(error)
        text = str(reason) if isinstance(reason, PolypError) else summary(reason)
        raise PolypError(f"the network cannot be built: {text}") from error
