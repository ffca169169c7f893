"""The routes of frames: /v1/predict, /v1/bundles, /v1/samples."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from polyp_monai.data.files import TooLargeError
from polyp_monai.errors import PolypError
from polyp_monai.serve import answers, schemas
from polyp_monai.serve.body import Upload, while_there
from polyp_monai.serve.bundles import ServedBundle
from polyp_monai.serve.limits import within
from polyp_monai.serve.service import service_of

router = APIRouter()
JSON, PNG = "application/json", "image/png"
TOGETHER = 4  # frames of one request that are under way at a time, so that one of many leaves room for others
BODY = {  # of a body that is no multipart the type does not count
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["files"],
                }
            },
        },
    }
}
PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {PNG: {}}}}
Threshold = Annotated[float | None, Query(ge=0, le=1, description="instead of the bundle's")]
BundleName = Annotated[str | None, Query(description="of GET /v1/bundles; by default the first")]


@router.post(
    "/v1/predict",
    response_model=schemas.FramesAnswer,
    responses={**schemas.ERRORS, **PICTURE, 406: {"model": schemas.ErrorAnswer}},
    openapi_extra=BODY,
)
async def predict(
    request: Request,
    bundle: BundleName = None,
    threshold: Threshold = None,
    probability: bool = False,
    view: Literal["mask", "overlay", "probability", "image"] = "mask",
) -> Response:
    """Find polyps in one picture (the body), or in several (multipart parts `files`).

    `Accept: image/png` gives the picture of one frame that `view` names; else the answer is JSON.
    """
    service = service_of(request)
    limits = service.limits
    with service.requests.place(), service.held.reader(request, limits.body) as reader:
        served, kind = service.bundle(bundle), accepted(request.headers.get("accept", ""))
        many = request.headers.get("content-type", "").lower().startswith("multipart/")
        late = f"the body did not come within {limits.seconds:g} s"
        if many:
            uploads = await within(limits.seconds, reader.uploads(limits), 408, late)
        else:
            uploads = [Upload("frame", await within(limits.seconds, reader.raw(), 408, late))]
        if kind == PNG:
            work = _picture(served, uploads, threshold, view)
        else:
            work = _found(served, uploads, threshold, probability, strict=not many)
        late = f"no answer within {limits.seconds:g} s; the service has too much to do"
        return await within(limits.seconds, while_there(request, work), 503, late)


@router.get("/v1/bundles", response_model=schemas.BundlesAnswer, responses={401: {"model": schemas.ErrorAnswer}})
async def bundles(request: Request) -> Response:
    """The bundles that are loaded, and the one that is taken when none is named."""
    service = service_of(request)
    limits, follower = service.limits, service.follower
    return JSONResponse(
        {
            "default": service.default,
            "bundles": [bundle.facts for bundle in service.bundles.values()],
            "limits": {"bytes": limits.body, "pixels": limits.pixels, "files": limits.parts, "clip_bytes": limits.clip},
            "source": follower.name if follower else None,
        }
    )


@router.get("/v1/samples", response_model=schemas.SamplesAnswer)
async def samples(request: Request) -> Response:
    """Drawn frames to try the service on; they show no patient."""
    made = await service_of(request).samples()
    return JSONResponse(
        {"samples": [{"name": f"sample {i + 1}", "url": f"/v1/samples/{i}.png"} for i in range(len(made))]}
    )


@router.get(
    "/v1/samples/{number}.png",
    response_class=Response,
    responses={**PICTURE, 404: {"model": schemas.ErrorAnswer}},
)
async def sample(request: Request, number: int) -> Response:
    """One of them."""
    made = await service_of(request).samples()
    if not 0 <= number < len(made):
        raise HTTPException(404, f"no such sample; there are {len(made)}")
    return Response(made[number], media_type=PNG)


def accepted(header: str) -> str:
    """The kind of answer that an Accept header prefers. Raises HTTPException 406 when it takes none of ours."""
    best, kind = 0.0, ""
    for entry in header.split(",") if header.strip() else ["*/*"]:
        name, *words = (word.strip().lower() for word in entry.split(";"))
        quality = next((match[1] for word in words if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", word))), "1")
        found = {JSON: JSON, "application/*": JSON, "*/*": JSON, PNG: PNG, "image/*": PNG}.get(name)
        if found and float(quality) > best:
            best, kind = float(quality), found
    if not kind:
        raise HTTPException(406, f"answers are {JSON} or {PNG}")
    return kind


async def _picture(served: ServedBundle, uploads: list[Upload], threshold: float | None, view: str) -> Response:
    if len(uploads) > 1:
        raise HTTPException(422, f"{PNG} is the answer to one picture; {len(uploads)} came")
    ((name, content),) = uploads
    pixels = view in ("overlay", "image")
    with_status = served.predict(content, name, threshold, lambda found: answers.png(found, view), pixels)
    made, _ = await _or_status(with_status)
    return Response(made, media_type=PNG)


async def _found(
    served: ServedBundle, uploads: list[Upload], threshold: float | None, probability: bool, strict: bool
) -> Response:
    """`strict`: a picture that cannot be read is the whole answer, with its status, not an entry."""

    async def one(name: str, content: bytes) -> dict[str, Any]:
        work = served.predict(content, name, threshold, lambda found: answers.frame(found, name, probability))
        if strict:
            found, milliseconds = await _or_status(work)
            return {**found, "milliseconds": milliseconds}
        try:
            found, milliseconds = await work
        except PolypError as error:
            return {"name": name, "error": str(error)}
        return {**found, "milliseconds": milliseconds}

    results: list[dict[str, Any]] = []
    for first in range(0, len(uploads), TOGETHER):
        results += await asyncio.gather(*(one(*upload) for upload in uploads[first : first + TOGETHER]))
    return JSONResponse({"bundle": served.name, "version": served.facts["version"], "results": results})


async def _or_status(work):
    """The result of `work`; a picture that cannot be read becomes a status."""
    try:
        return await work
    except TooLargeError as error:
        raise HTTPException(413, str(error)) from error
    except PolypError as error:
        raise HTTPException(400, str(error)) from error
