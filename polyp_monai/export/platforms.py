"""What platforms that load and save by themselves take of a packed bundle: MONAI Label and MONAI Deploy.

They know `LoadImaged` and `SaveImaged` only, by type or by name, and hand over arrays of (H, W, 3) or files. MONAI
Label prefers the items `pre_transforms` and `post_transforms` of inference.json to those of the bundle's own run; MONAI
Deploy reads the config inside of model.ts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OWN = ("LoadPictured", "SavePredictiond", "FindPolypsd", "CopyItemsd")  # which read and write as `polyp predict` does
LOAD: list[dict[str, Any]] = [
    {
        "_target_": "LoadImaged",
        "keys": "image",
        "reader": "PILReader",
        "converter": "$lambda image: image.convert('RGB')",
        "image_only": False,
    },
    {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": -1},
    {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.uint8"},
]
CLASS_NUMBERS = "polyp_monai.data.transforms.ClassMapd"
SQUEEZE = {"_target_": "SqueezeDimd", "keys": "pred", "dim": 0}  # a mask with a channel is taken for a volume


def chains(inference: dict[str, Any]) -> dict[str, Any]:
    """`pre_transforms` and `post_transforms` for an inference config without macros; none where it is not the recipe's.

    The transforms in between are the very ones of the bundle's own run, by reference, so that the masks are its masks.
    """
    steps = {part: inference.get(part, {}).get("transforms", ()) for part in ("preprocessing", "postprocessing")}
    targets = {part: [_target(step) for step in found] for part, found in steps.items()}
    if "LoadPictured" not in targets["preprocessing"] or "SavePredictiond" not in targets["postprocessing"]:
        return {}
    chosen: list[list[Any]] = [
        [f"@{part}::transforms::{n}" for n, target in enumerate(found) if target not in OWN]
        for part, found in targets.items()
    ]
    pre, post = chosen
    if len(inference.get("classes", ())) > 1:  # the numbers of the classes, not a mask of each
        post = [step for step in post if targets["postprocessing"][int(step.rpartition("::")[2])] != "AsDiscreted"]
        post.append({"_target_": CLASS_NUMBERS, "keys": "pred", "threshold": "@threshold", "to": "pred"})
    return {
        "pre_transforms": {"_target_": "Compose", "transforms": [*LOAD, *pre]},
        "post_transforms": {"_target_": "Compose", "transforms": [*post, SQUEEZE]},
    }


def _target(step: Any) -> str:
    return str(step.get("_target_", "")).rpartition(".")[2] if isinstance(step, dict) else ""


def describe_labels(metadata: dict[str, Any], classes: Sequence[str]) -> None:
    """Name the values of the mask, in place: as MONAI Label reads it, the first class would be the background."""
    for port in metadata["network_data_format"]["outputs"].values():
        if (names := list(port.get("channel_def", {}).values())) == list(classes):
            port["channel_def"] = {str(value): name for value, name in enumerate(["background", *names])}


def describe_torchscript(path: Path, configs: Path) -> None:
    """Put metadata and inference config of the folder `configs` into a TorchScript file, where both MONAIs look."""
    import torch

    from polyp_monai.runtime.torch_network import EXTRA

    extra: dict[str, Any] = {EXTRA: ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    inference = json.loads((configs / "inference.json").read_text(encoding="utf-8"))
    for own, theirs in (("preprocessing", "pre_transforms"), ("postprocessing", "post_transforms")):
        if theirs in inference:
            steps = [_resolved(step, inference) for step in inference.pop(theirs)["transforms"]]
            inference[own] = {"_target_": "Compose", "transforms": steps}
    extra["metadata.json"] = (configs / "metadata.json").read_text(encoding="utf-8")
    extra["inference.json"] = json.dumps(inference, indent=4)
    torch.jit.save(module, path, _extra_files=extra)


def _resolved(step: Any, inference: dict[str, Any]) -> Any:
    """The transform that a reference of `chains` means: the lists that it points into are replaced."""
    if not isinstance(step, str):
        return step
    part, _, number = step[1:].split("::")
    return inference[part]["transforms"][int(number)]
