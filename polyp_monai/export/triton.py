"""A model repository that Triton and OpenVINO Model Server load: NAME/config.pbtxt and NAME/1/model.onnx."""

from __future__ import annotations

import json
from pathlib import Path

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.export import export
from polyp_monai.runtime.about import INPUT, OUTPUT

NAME = "triton"  # of `--format`
BATCH, QUEUE = 8, 64  # frames that go through together, and that may wait; beyond it the server refuses
TOLD = ("bundle_version", "weights_sha256", "image_size", "fit", "crop", "threshold", "precision")
CONFIG = """# frames fitted as `parameters` say, RGB 0..1 -> logits of polyps
name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {channels}, -1, -1 ] }} ]
dynamic_batching {{
  max_queue_delay_microseconds: 0
  default_queue_policy {{ timeout_action: REJECT max_queue_size: {queue} }}
}}
{parameters}
"""


def repository(
    root: Path,
    precision: str = "fp32",
    out: Path | None = None,
    data: str | None = None,
    weights: str | None = None,
    overwrite: bool = False,
) -> export.Exported:
    """Write the network of the bundle `root` into the model repository `out`, beside others that may be there.

    Args:
        out: folder; by default `model_repository`, in the current one.
        root, precision, data, weights, overwrite: of `export.export`, whose ONNX file it holds.

    Raises:
        PolypError: as there; or a model of that name is in the repository.
    """
    root = root.resolve()
    home = (out or Path("model_repository")).absolute() / root.name
    if home.parent.is_file():
        raise PolypError(f"--out {out}: a model repository is a folder")
    config, model = home / "config.pbtxt", home / "1/model.onnx"
    if config.exists() and not overwrite:
        raise PolypError(f"{config}: exists already; give another --out, or --overwrite")
    try:
        made = export.export(root, "onnx", precision, model, data, weights, overwrite)
    except BaseException:
        _remove_empty(model.parent, home, home.parent)
        raise
    files.write_text(config, _config(root.name, model))
    return export.Exported(home, made.size + config.stat().st_size, made.finding)


def _config(name: str, model: Path) -> str:
    import onnx

    content = onnx.load(model)
    channels = content.graph.output[0].type.tensor_type.shape.dim[1].dim_value or -1
    told = {entry.key: entry.value for entry in content.metadata_props}
    lines = [_parameter(key, told[key]) for key in TOLD] + [_parameter("axes", "batch, channel, width, height")]
    return CONFIG.format(
        name=name,
        batch=BATCH,
        queue=QUEUE,
        input=INPUT,
        output=OUTPUT,
        channels=channels,
        parameters="\n".join(lines),
    )


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: {json.dumps(value)} }} }}'


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
