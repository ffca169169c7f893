"""The mask of a frame from the network alone, by the Open Inference Protocol.

    pip install 'tritonclient[http]'
    python examples/triton_client.py frame.jpg mask.png [127.0.0.1:7860] [efficient_unet]

What stands around the network is done here, by the parameters that the model tells: fit the frame, and bring its
probabilities back to the native size. Works with `polyp serve`, and with Triton on what `polyp export --format triton`
wrote, whose parameters are in its config.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import tritonclient.http as triton
from monai.data import MetaTensor

from polyp_monai.data import files
from polyp_monai.data.transforms import FitFrame


def main(frame: str, mask: str, address: str = "127.0.0.1:7860", model: str = "efficient_unet") -> None:
    client = triton.InferenceServerClient(address)
    about = client.get_model_metadata(model)["parameters"]
    fit = FitFrame(int(about["image_size"]), about["fit"], bool(about["crop"]))
    image = files.read_rgb(frame, upright=True)  # (H, W, 3) uint8
    fitted = fit(MetaTensor(torch.from_numpy(image).permute(2, 1, 0)))  # (3, W, H): W before H

    given = triton.InferInput("image", [1, *fitted.shape], "FP32")
    given.set_data_from_numpy(fitted.numpy()[None].astype(np.float32) / 255)
    logits = client.infer(model, [given]).as_numpy("logits")[0]  # (1, W, H)

    probability = MetaTensor(torch.sigmoid(torch.tensor(logits)), applied_operations=fitted.applied_operations)
    native = fit.inverse(probability)[0].numpy().T  # (H, W)
    files.write_mask(mask, native >= float(about["threshold"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
