"""An ensemble is a bundle whose network holds those of several trained bundles: all that takes a bundle takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyp_monai.bundle import locate, model_file
from polyp_monai.bundle.read import SCRIPTS, BundleConfig, classes_of, recipe_digest
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.provenance import TRAINED_ON
from polyp_monai.sharing import trust

SHARED = ("image_size", "fit", "crop", "threshold")  # what the members must agree on


def write(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write a bundle that predicts the mean of the runs' probabilities.

    Args:
        runs: trained bundles, by name or folder: two or more. Their networks may differ.
        out: its folder, which is absent or empty.

    Returns:
        The folder, absolute.

    Raises:
        PolypError: a run without weights; runs that fit frames in different ways or bring code of their own.
    """
    if len(runs) < 2:
        raise PolypError("an ensemble needs two runs or more")
    out, roots = Path(out).resolve(), [locate.find(str(run)) for run in runs]
    if twice := next((root for root in roots if roots.count(root) > 1), None):
        raise PolypError(f"{twice}: is named twice; an ensemble needs runs that differ")
    for root in roots:
        locate.check_weights(root / "models/model.pt", root)
    configs = [BundleConfig(root) for root in roots]
    _check_alike(configs)
    members, state = [config.written("network_def") for config in configs], _joined(configs)
    locate.copy(roots[0], out)
    path = out / "configs/model.yaml"
    network: dict[str, Any] = {"_target_": "polyp_monai.networks.Ensemble", "members": members}
    changes = {"network_def": network, "pretrained": None, "pretrained_sha256": None}
    files.write_text(path, model_file.changed(path.read_text(encoding="utf-8"), changes, str(path)))
    _describe(out, roots)
    from polyp_monai.training import checkpoints

    checkpoints.save(out / "models/model.pt", state)
    trust.made_here(out)
    return out


def _check_alike(configs: Sequence[BundleConfig]) -> None:
    first = configs[0]
    for config in configs:
        if (config.root / SCRIPTS).is_dir():
            raise PolypError(f"{config.root}: brings code of its own ({SCRIPTS}/), so it cannot join an ensemble")
        for key in SHARED:
            if config[key] != first[key]:
                raise PolypError(
                    f"{config.root}: {key} is {config[key]}, of {first.root} {first[key]}; the runs of an ensemble "
                    "must fit frames in the same way"
                )
        if (own := classes_of(config).names) != (names := classes_of(first).names):
            raise PolypError(f"{config.root}: has the classes {', '.join(own)}, {first.root} {', '.join(names)}")
        if recipe_digest(config) != recipe_digest(first):
            raise PolypError(f"{config.root}: prepares frames in another way than {first.root}")


def _joined(configs: Sequence[BundleConfig]) -> dict[str, Any]:
    """The state dict of the ensemble. Each member's weights are checked against its network."""
    import torch

    from polyp_monai.training import checkpoints

    state: dict[str, Any] = {}
    for number, config in enumerate(configs):
        with torch.random.fork_rng():  # a network is built with drawn weights
            network = checkpoints.load_weights(config["network_def"], config.root / "models/model.pt")
        state |= {f"members.{number}.{key}": value for key, value in network.state_dict().items()}
    return state


def _describe(out: Path, roots: Sequence[Path]) -> None:
    """Name and description, and the frames that any of the members has seen."""
    path = out / "configs/metadata.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    names = ", ".join(root.name for root in roots)
    about |= {"name": f"Ensemble of {len(roots)}: {about.get('name', roots[0].name)}"}
    about |= {"description": f"The mean of the probabilities of {names}. {about.get('description', '')}".strip()}
    files.write_json(path, about)
    seen = [root / "models" / TRAINED_ON for root in roots]
    if not all(file.is_file() for file in seen):
        return  # the leakage audit says that it does not know
    content: dict[str, Any] = {"sets": [], "groups": {}, "hashes": []}
    for one in (json.loads(file.read_text(encoding="utf-8")) for file in seen):
        content["sets"] += [entry for entry in one["sets"] if entry not in content["sets"]]
        content["hashes"] = list(dict.fromkeys([*content["hashes"], *one["hashes"]]))
        for name, groups in one["groups"].items():
            content["groups"][name] = sorted({*content["groups"].get(name, ()), *groups})
    files.write_json(out / "models" / TRAINED_ON, content)
