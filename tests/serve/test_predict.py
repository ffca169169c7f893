"""POST /v1/predict: the masks of `polyp predict`, alone, in batches, of any kind of file."""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from polyp_monai.cli.main import main
from polyp_monai.serve.limits import Limits
from tests.serve.conftest import drawn, encoded, held, pixels, served, until

PNG = {"accept": "image/png"}


def exif_turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


def kinds() -> dict[str, bytes]:
    image = drawn(1, (130, 90))
    volume = nibabel.Nifti1Image(np.transpose(image, (1, 0, 2))[:, :, None], np.diag([2, 2, 1, 1]))
    return {
        "a.png": encoded(image),
        "b.jpg": encoded(image, "JPEG", quality=95),
        "turned.jpg": encoded(image, "JPEG", exif=exif_turned()),
        "c.tif": encoded(image, "TIFF", compression="tiff_deflate"),
        "d.bmp": encoded(image, "BMP"),
        "e.webp": encoded(image, "WEBP", lossless=True),
        "gray.png": encoded(image[..., 0]),
        "f.nii": volume.to_bytes(),
    }


def test_masks_are_those_of_the_command(client, tiny_home, tmp_path):
    frames, masks = tmp_path / "frames", tmp_path / "masks"
    frames.mkdir()
    for name, content in kinds().items():
        (frames / name).write_bytes(content)
    assert main(["predict", str(tiny_home), str(frames), "--out", str(masks), "--device", "cpu"]) == 0
    for name, content in kinds().items():
        answer = client.post("/v1/predict", content=content, headers=PNG)
        assert answer.status_code == 200, answer.text
        found = pixels(answer.content)
        if name.endswith(".nii"):
            expected = np.asarray(nibabel.load(next(masks.rglob("f*.nii"))).dataobj)[..., 0].T * 255
        else:
            (path,) = masks.rglob(f"{name.partition('.')[0]}*.png")
            expected = np.array(Image.open(path))
        assert (0 < (expected > 0).mean() < 0.5) == (name != "gray.png")  # polyps are red
        np.testing.assert_array_equal(found, expected)


def test_dicom(client, loaded, tmp_path):
    pytest.importorskip("pydicom")
    from tests import dicoms

    image = drawn(1)
    content = dicoms.write(tmp_path / "a.dcm", image).read_bytes()
    found, expected = (client.post("/v1/predict", content=body, headers=PNG) for body in (content, encoded(image)))
    assert found.status_code == 200, found.text
    np.testing.assert_array_equal(pixels(found.content), pixels(expected.content))
    assert client.post("/v1/predict", content=content[:-50]).status_code == 400
    with served(loaded, Limits(pixels=10_000)) as small:
        answer = small.post("/v1/predict", content=content)
        assert (answer.status_code, "96 x 120 is too large" in answer.text) == (413, True)


def test_json_of_one_frame(client):
    image = drawn(2)
    (found,) = client.post("/v1/predict?probability=true", content=encoded(image)).json()["results"]
    mask = pixels(client.post("/v1/predict", content=encoded(image), headers=PNG).content) > 0
    assert (found["width"], found["height"], found["threshold"]) == (120, 96, 0.5)
    assert set(found["milliseconds"]) == {"decode", "wait", "network", "encode"}
    areas = [polyp["area"] for polyp in found["polyps"]]
    assert sum(areas) == pytest.approx(mask.sum(), abs=6)  # specks are in the mask alone
    first = found["polyps"][0]
    x, y, w, h = first["box"]
    assert mask[int(y) : int(y + h), int(x) : int(x + w)].any()
    assert first["share"] == pytest.approx(first["area"] / mask.size)
    assert first["size"] == "small"
    assert 0.5 <= first["confidence"] <= 1
    assert all(x <= px <= x + w and y <= py <= y + h for px, py in first["polygons"][0])
    probability = pixels(base64.b64decode(found["probability"].partition(",")[2]))
    assert probability.shape == mask.shape
    assert (probability[mask] >= 127).all()


def test_a_threshold_of_the_request(client):
    body = encoded(drawn(3))
    sure = pixels(client.post("/v1/predict?threshold=0.99", content=body, headers=PNG).content)
    unsure = pixels(client.post("/v1/predict?threshold=0.01", content=body, headers=PNG).content)
    assert (sure > 0).sum() < (unsure > 0).sum()
    assert client.post("/v1/predict?threshold=0.99", content=body).json()["results"][0]["threshold"] == 0.99


def test_views(client):
    image = drawn(4)
    overlay = client.post("/v1/predict?view=overlay", content=encoded(image), headers=PNG)
    assert (pixels(overlay.content) == (255, 221, 0)).all(axis=-1).any()
    frame = client.post("/v1/predict?view=image", content=encoded(image, "BMP"), headers=PNG)
    np.testing.assert_array_equal(pixels(frame.content), image)
    probability = client.post("/v1/predict?view=probability", content=encoded(image), headers=PNG)
    assert len(np.unique(pixels(probability.content))) > 3


def test_several_at_once(client):
    parts = [("files", (f"folder/{i}.png", encoded(drawn(i)))) for i in range(6)]
    parts[2] = ("files", ("bad.png", b"no picture"))
    results = client.post("/v1/predict", files=parts).json()["results"]
    assert [found["name"] for found in results] == ["0.png", "1.png", "bad.png", "3.png", "4.png", "5.png"]
    assert set(results[2]) == {"name", "error"}
    assert results[2]["error"].startswith("bad.png: is no picture; known are PNG, JPEG")
    alone = client.post("/v1/predict", content=encoded(drawn(5))).json()["results"][0]
    assert results[5]["polyps"] == alone["polyps"]


def test_answers_do_not_depend_on_the_batch(loaded):
    bodies = [encoded(drawn(seed, (100 + 4 * seed, 80))) for seed in range(10)]
    with served(loaded, Limits(batch=1)) as client:
        expected = [client.post("/v1/predict?view=probability", content=body, headers=PNG).content for body in bodies]
    with served(loaded, Limits(batch=8)) as client, ThreadPoolExecutor(10) as pool:
        with held(client.service):
            work = [pool.submit(client.post, "/v1/predict?view=probability", content=b, headers=PNG) for b in bodies]
            until(lambda: len(client.service.bundle(None).batches) >= 2)
            until(lambda: client.service.requests.taken == 10)
        assert [answer.result().content for answer in work] == expected
        assert 'polyp_batch_size_bucket{le="1.0"} 10.0' not in client.get("/metrics").text


def test_two_bundles(loaded):
    with served({"a": loaded, "b": loaded}, Limits()) as client:
        facts = client.get("/v1/bundles").json()
        assert facts["default"] == "a"
        assert [bundle["name"] for bundle in facts["bundles"]] == ["a", "b"]
        assert facts["bundles"][0]["digest"] == loaded.weights.sha256
        assert client.post("/v1/predict?bundle=b", content=encoded(drawn(0))).json()["bundle"] == "b"
        assert client.post("/v1/predict?bundle=c", content=encoded(drawn(0))).status_code == 404


@pytest.mark.parametrize(
    ("header", "status", "kind"),
    [
        ("", 200, "application/json"),
        ("text/html, image/png;q=0.5, */*;q=0.1", 200, "image/png"),
        ("application/json;q=0.2, image/*", 200, "image/png"),
        ("text/html", 406, "application/json"),
    ],
)
def test_kinds_of_answer(client, header, status, kind):
    answer = client.post("/v1/predict", content=encoded(drawn(0)), headers={"accept": header})
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)


def test_one_picture_for_one_frame(client):
    parts = [("files", (f"{i}.png", encoded(drawn(i)))) for i in range(2)]
    answer = client.post("/v1/predict", files=parts, headers=PNG)
    assert answer.status_code == 422
    assert answer.json() == {"error": "image/png is the answer to one picture; 2 came"}


def test_samples(client):
    (sample,) = client.get("/v1/samples").json()["samples"]
    answer = client.get(sample["url"])
    assert Image.open(io.BytesIO(answer.content)).size == (120, 96)
    assert client.get("/v1/samples/7.png").status_code == 404


def test_the_page_and_its_policy(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.get("/static/index.html").status_code == 200
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/openapi.json").json()["info"]["title"] == "polyp_monai"


@pytest.mark.parametrize("query", ["treshold=0.3", "threshold=0.3&threshold=0.9", "unknown=1"])
def test_a_parameter_that_would_change_nothing(client, query):
    for route in ("predict", "video"):
        answer = client.post(f"/v1/{route}?{query}", content=encoded(drawn(1)))
        assert (answer.status_code, query.partition("=")[0] in answer.json()["error"]) == (422, True)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"ws://127.0.0.1/v1/live?{query}"):
        pass


def test_a_part_of_another_name(client):
    picture = encoded(drawn(1))
    for parts in ({"files2": ("b.png", picture)}, {"threshold": (None, "0.9")}):
        answer = client.post("/v1/predict", files={"files": ("a.png", picture), **parts})
        assert (answer.status_code, next(iter(parts)) in answer.json()["error"]) == (422, True)
