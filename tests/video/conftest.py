"""A bundle that sees red."""

from __future__ import annotations

import pytest
import torch
import yaml


@pytest.fixture
def sees_red(bundle):
    """A bundle whose only layer gives a large logit to red pixels."""
    path = bundle / "configs/model.yaml"
    model = yaml.safe_load(path.read_text())
    body = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}
    model["network_def"] = {"_target_": "polyp_monai.networks.FrameNetwork", "body": body, "divisor": 32}
    model["image_size"] = 96
    path.write_text(yaml.safe_dump(model))
    state = {"body.weight": torch.tensor([4.0, -4.0, -4.0]).view(1, 3, 1, 1), "body.bias": torch.tensor([-6.0])}
    (bundle / "models").mkdir(exist_ok=True)
    torch.save(state, bundle / "models/model.pt")
    return bundle
