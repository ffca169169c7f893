"""The Open Inference Protocol, version 2, over HTTP with binary tensors: the network alone, as its export has it.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and Triton's binary extension. One
input `image`, FP32 (B, 3, W, H) RGB in 0..1, fitted as the bundle fits frames; one output `logits`, FP32 (B, C, W, H).
What stands around the network is told under `parameters`; /v1/predict does all of it.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

import polyp_monai
from polyp_monai.runtime.about import INPUT, OUTPUT
from polyp_monai.serve import schemas
from polyp_monai.serve.body import while_there
from polyp_monai.serve.bundles import ServedBundle
from polyp_monai.serve.limits import Limits, within
from polyp_monai.serve.service import service_of

router = APIRouter(prefix="/v2")
KIND, LENGTH = "FP32", "inference-header-content-length"
SMALLEST = 33  # pixels a side, of exported networks
SLACK = 0.1  # around 0..1: a resize may overshoot a little
TENSOR = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class Wanted(NamedTuple):
    """A request that was understood: its id, the frames, and whether the output comes in binary."""

    id: str | None
    frames: np.ndarray
    binary: bool


@router.get("")
async def server() -> dict[str, Any]:
    """What this is, and which extensions it speaks."""
    extensions = ["binary_tensor_data"]
    return {"name": "polyp_monai", "version": polyp_monai.__version__, "extensions": extensions}


@router.get("/health/live")
async def is_live() -> dict[str, bool]:
    """Whether the process answers."""
    return {"live": True}


@router.get("/health/ready", responses={503: {"model": schemas.ErrorAnswer}})
async def is_ready(request: Request) -> dict[str, bool]:
    """Whether all bundles take frames."""
    if not service_of(request).ready:
        raise HTTPException(503, "is stopping")
    return {"ready": True}


@router.get("/models/{name}", responses=schemas.ERRORS)
@router.get("/models/{name}/versions/{version}", responses=schemas.ERRORS)
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Names, types and shapes of its ends; -1 is free."""
    served = _model(request, name, version)
    facts = ("image_size", "fit", "crop", "threshold", "digest")
    return {
        "name": name,
        "versions": [served.facts["version"]],
        "platform": "polyp_monai",
        "inputs": [{"name": INPUT, "datatype": KIND, "shape": [-1, 3, -1, -1]}],
        "outputs": [{"name": OUTPUT, "datatype": KIND, "shape": [-1, served.channels, -1, -1]}],
        "parameters": {"axes": "batch, channel, width, height", **{key: served.facts[key] for key in facts}},
    }


@router.get("/models/{name}/ready", responses=schemas.ERRORS)
@router.get("/models/{name}/versions/{version}/ready", responses=schemas.ERRORS)
async def model_is_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Whether this bundle takes frames."""
    if not _model(request, name, version).batches.alive:
        raise HTTPException(503, "is stopping")
    return {"name": name, "ready": True}


@router.post("/models/{name}/infer", responses=schemas.ERRORS, openapi_extra=TENSOR)
@router.post("/models/{name}/versions/{version}/infer", responses=schemas.ERRORS, openapi_extra=TENSOR)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """The logits of fitted frames."""
    service = service_of(request)
    limits = service.limits
    with service.requests.place(), service.held.reader(request, limits.body) as reader:
        served = _model(request, name, version)
        late = f"the body did not come within {limits.seconds:g} s"
        body = await within(limits.seconds, reader.raw(), 408, late)
        wanted = understood(body, request.headers.get(LENGTH), limits)
        late = f"no answer within {limits.seconds:g} s; the service has too much to do"
        logits = await within(limits.seconds, while_there(request, served.logits(wanted.frames)), 503, late)
        return _answer(name, served.facts["version"], wanted, logits)


def understood(body: bytes, length: str | None, limits: Limits) -> Wanted:
    """What a request asks for. Raises HTTPException 400 or 413."""
    try:
        split = len(body) if length is None else int(length)
        if not 0 <= split <= len(body):
            raise ValueError(f"{LENGTH} {split}, in a body of {len(body)} bytes")
        content = json.loads(body[:split])
        (tensor,) = content["inputs"]
        (output,) = content.get("outputs") or [{"name": OUTPUT}]
        if (tensor["name"], tensor["datatype"], output["name"]) != (INPUT, KIND, OUTPUT):
            raise ValueError(f"expected one input {INPUT!r} of {KIND}, and the output {OUTPUT!r}")
        shape = _shape(tensor["shape"])
        _check_size(shape, limits)
        size = tensor.get("parameters", {}).get("binary_data_size")
        frames = _tensor(tensor.get("data") if size is None else body[split:], size, shape)
        always = content.get("parameters", {}).get("binary_data_output", False)
        binary = bool(output.get("parameters", {}).get("binary_data", always))
        number = content.get("id")
        return Wanted(None if number is None else str(number)[:256], frames, binary)
    except HTTPException:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        line = str(error).partition("\n")[0][:200]
        raise HTTPException(400, f"the request cannot be understood: {type(error).__name__}: {line}") from error


def _shape(given: Any) -> tuple[int, int, int, int]:
    if not (isinstance(given, list) and all(type(side) is int for side in given)):
        raise ValueError("shape: expected a list of whole numbers")
    if len(given) != 4 or given[1] != 3 or given[0] < 1 or min(given[2:]) < SMALLEST:
        raise ValueError(f"shape {given}: expected [B, 3, W, H] with sides from {SMALLEST}")
    return tuple(given)


def _check_size(shape: tuple[int, int, int, int], limits: Limits) -> None:
    if shape[0] * shape[2] * shape[3] > limits.tensor:
        raise HTTPException(413, f"shape {list(shape)}: up to {limits.tensor / 1e6:g} megapixels are taken at a time")


def _tensor(data: Any, size: Any, shape: tuple[int, int, int, int]) -> np.ndarray:
    """(B, 3, W, H) float32, its own memory."""
    if size is None:
        frames = np.asarray(data, dtype=np.float32)
        if frames.size != math.prod(shape):
            raise ValueError(f"data: {frames.size} numbers for a shape of {list(shape)}")
    else:
        if size != len(data) or size != 4 * math.prod(shape):
            raise ValueError(f"binary_data_size {size}: {len(data)} bytes came, {4 * math.prod(shape)} are expected")
        frames = np.frombuffer(data, "<f4").copy()
    low, high = float(frames.min()), float(frames.max())
    if not (low >= -SLACK and high <= 1 + SLACK):  # of NaN too
        raise ValueError(f"values from {low:g} to {high:g}; the network takes RGB in 0..1")
    return frames.reshape(shape)


def _answer(name: str, version: str, wanted: Wanted, logits: np.ndarray) -> Response:
    output: dict[str, Any] = {"name": OUTPUT, "datatype": KIND, "shape": list(logits.shape)}
    content: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": [output]}
    if wanted.id is not None:
        content["id"] = wanted.id
    if not wanted.binary:
        output["data"] = logits.ravel().tolist()
        return JSONResponse(content)
    raw = np.ascontiguousarray(logits, "<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps(content).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Response(head + raw, media_type="application/octet-stream", headers=headers)


def _model(request: Request, name: str, version: str | None) -> ServedBundle:
    served = service_of(request).bundle(name)
    if version is not None and version != served.facts["version"]:
        raise HTTPException(404, f"no such version; there is {served.facts['version']}")
    return served
