"""The Open Inference Protocol, as Triton's client speaks it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from polyp_monai.serve.limits import Limits
from tests.serve.conftest import drawn, encoded, pixels, running

INFER = "/v2/models/tiny/infer"


def request(frames: np.ndarray, **more) -> dict:
    tensor = {"name": "image", "datatype": "FP32", "shape": list(frames.shape), "data": frames.ravel().tolist()}
    return {"inputs": [{**tensor, **more}]}


def fitted(image: np.ndarray, bundle) -> np.ndarray:
    """(1, 3, W, H) as the docs tell clients to make it."""
    fit = bundle.predictor.fit_image
    return fit(torch.from_numpy(image).permute(2, 1, 0)).numpy()[None].astype(np.float32) / 255


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_same_masks(loaded, binary):
    triton, utils = pytest.importorskip("tritonclient.http"), pytest.importorskip("tritonclient.utils")
    image = drawn(1, (64, 64))  # of the image size: nothing is resized on the way back
    with running(loaded, Limits()) as (home, _):
        client = triton.InferenceServerClient(home.removeprefix("http://"))
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert not client.is_model_ready("other")
        version = loaded.root and json.loads((loaded.root / "configs/metadata.json").read_text())["version"]
        about = client.get_model_metadata("tiny", version)
        assert about["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]
        frames = fitted(image, loaded)
        given = triton.InferInput("image", list(frames.shape), "FP32")
        given.set_data_from_numpy(frames, binary_data=binary)
        wanted = triton.InferRequestedOutput("logits", binary_data=binary)
        found = client.infer("tiny", [given], outputs=[wanted], request_id="7")
        assert found.get_response()["id"] == "7"
        logits = found.as_numpy("logits")
        given.set_data_from_numpy(frames * 255)
        with pytest.raises(utils.InferenceServerException, match=r"the network takes RGB in 0\.\.1"):
            client.infer("tiny", [given])
        client.close()
    np.testing.assert_array_equal(logits[0, 0].T >= 0, loaded.predict(image).mask)


def test_the_example_writes_the_mask_of_predict(loaded, tmp_path):
    pytest.importorskip("tritonclient.http")
    (tmp_path / "a.png").write_bytes(encoded(drawn(1, (130, 90))))
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples/triton_client.py"))
    with running(loaded, Limits()) as (home, _):
        example["main"](str(tmp_path / "a.png"), str(tmp_path / "mask.png"), home.removeprefix("http://"), "tiny")
    expected = loaded.predict(tmp_path / "a.png").mask
    assert expected.any()
    np.testing.assert_array_equal(pixels((tmp_path / "mask.png").read_bytes()) > 0, expected)


def test_batches_keep_their_order(client, loaded):
    frames = np.concatenate([fitted(drawn(seed, (64, 64)), loaded) for seed in range(3)])
    output = client.post(INFER, json=request(frames)).json()["outputs"][0]
    with torch.no_grad():
        expected = loaded.predictor.network(torch.from_numpy(frames)).numpy()
    assert output["shape"] == [3, 1, 64, 64]
    np.testing.assert_allclose(np.reshape(output["data"], expected.shape), expected, atol=1e-5)


def test_what_the_docs_say_of_the_way_back(client, loaded):
    """Logits of a fitted frame, by the docs' recipe, give the mask of /v1/predict."""
    image = drawn(5, (150, 110))
    fit, frames = loaded.predictor.fit_image, fitted(image, loaded)
    output = client.post(INFER, json=request(frames)).json()["outputs"][0]
    logits = np.reshape(output["data"], output["shape"])
    probability = torch.from_numpy(1 / (1 + np.exp(-logits))).float()
    back = torch.nn.functional.interpolate(probability, (150, 110), mode="bilinear", align_corners=False)[0, 0].T
    mask = pixels(client.post("/v1/predict", content=encoded(image), headers={"accept": "image/png"}).content) > 0
    assert fit.fit == "stretch"
    assert (back.numpy() >= 0.5) == pytest.approx(mask)


BROKEN = [
    b"",
    b"{}",
    b"[]",
    b"nothing",
    b"\xff\xfe",
    b'{"inputs": 3}',
    b'{"inputs": [{"name": "image"}]}',
    json.dumps(request(np.zeros((1, 3, 64, 64)), name="other")).encode(),
    json.dumps(request(np.zeros((1, 3, 64, 64)), datatype="UINT8")).encode(),
    json.dumps(request(np.zeros((1, 3, 64, 64)), shape=[1, 3, 64])).encode(),
    json.dumps(request(np.zeros((1, 3, 64, 64)), shape=[1, 3, 64, True])).encode(),
    json.dumps(request(np.zeros((1, 3, 64, 64)), shape=[1, 3, -64, -64])).encode(),
    json.dumps(request(np.zeros((1, 3, 64, 64)), shape=[2, 3, 64, 64])).encode(),
    json.dumps(request(np.zeros((1, 3, 8, 8)))).encode(),
    json.dumps(request(np.full((1, 3, 64, 64), np.nan))).encode(),
    json.dumps(request(np.full((1, 3, 64, 64), 200.0))).encode(),
    json.dumps({**request(np.zeros((1, 3, 64, 64))), "outputs": [{"name": "masks"}]}).encode(),
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_requests_that_cannot_be_understood(client, body):
    answer = client.post(INFER, content=body)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})


@pytest.mark.parametrize("length", ["-1", "x", "100000", "3"])
def test_lengths_that_are_wrong(client, length):
    answer = client.post(INFER, content=b"{}" * 5, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400


def test_tensors_that_are_too_large(client):
    shape = [100, 3, 1000, 1000]
    answer = client.post(INFER, json={"inputs": [{"name": "image", "datatype": "FP32", "shape": shape, "data": []}]})
    assert (answer.status_code, "megapixels" in answer.text) == (413, True)


def test_models_and_versions(client):
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    version = client.get("/v2/models/tiny").json()["versions"][0]
    assert client.get(f"/v2/models/tiny/versions/{version}/ready").status_code == 200
    assert client.get("/v2/models/tiny/versions/0/ready").json() == {"error": f"no such version; there is {version}"}
    assert client.get("/v2/models/none").status_code == 404
