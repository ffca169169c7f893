"""`polyp export --format triton`: a repository that model servers load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from polyp_monai.cli.main import main

pytest.importorskip("onnx")


def test_a_repository(tiny, tmp_path, capsys):
    repository = tmp_path / "repository"
    words = ["export", str(tiny), "--format", "triton", "--out", str(repository)]
    assert main(words) == 0
    assert sorted(str(p.relative_to(repository)) for p in repository.rglob("[!.]*") if p.is_file()) == [
        "tiny/1/model.onnx",
        "tiny/config.pbtxt",
    ]
    assert main(words) == 1
    assert "config.pbtxt: exists already" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    session = pytest.importorskip("onnxruntime").InferenceSession(str(repository / "tiny/1/model.onnx"))
    (logits,) = session.run(["logits"], {"image": np.zeros((2, 3, 64, 96), np.float32)})
    assert logits.shape == (2, 1, 64, 96)


def test_its_config_is_what_triton_reads(tiny, tmp_path):
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    assert main(["export", str(tiny), "--format", "triton", "--out", str(tmp_path)]) == 0
    config = text_format.Parse((tmp_path / "tiny/config.pbtxt").read_text(), model_config.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", "onnxruntime", 8)
    (ins,), (outs,) = config.input, config.output
    assert (ins.name, ins.data_type, list(ins.dims)) == ("image", model_config.TYPE_FP32, [3, -1, -1])
    assert (outs.name, outs.data_type, list(outs.dims)) == ("logits", model_config.TYPE_FP32, [1, -1, -1])
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.timeout_action) == (64, 0)  # 0 is REJECT
    told = {key: value.string_value for key, value in config.parameters.items()}
    version = json.loads((Path(tiny) / "configs/metadata.json").read_text())["version"]
    assert (told["image_size"], told["fit"], told["bundle_version"]) == ("64", "stretch", version)


def test_nothing_is_left_of_what_fails(tiny, tmp_path):
    (tiny / "models/model.pt").write_bytes(b"damaged")
    assert main(["export", str(tiny), "--format", "triton", "--out", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()
