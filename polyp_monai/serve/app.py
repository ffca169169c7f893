"""The ASGI application: routes, page and guard around a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware

import polyp_monai
from polyp_monai.serve import frames, oip, schemas, streams
from polyp_monai.serve.guard import Guard
from polyp_monai.serve.queries import only_known
from polyp_monai.serve.service import Service, service_of

PAGE = Path(__file__).parent / "page"
ABOUT = "Finds and outlines polyps in colonoscopy frames. Research and education; not a medical device, no diagnosis."


def create(
    service: Service, token: str | None = None, hosts: Iterable[str] = (), origins: Iterable[str] = ()
) -> FastAPI:
    """The application; it closes the service at its end.

    Args:
        service: what answers.
        token, hosts, origins: of `Guard`.
    """
    origins = tuple(origins)
    app = FastAPI(
        title="polyp_monai",
        version=polyp_monai.__version__,
        description=ABOUT,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.service = service
    for routes in (frames.router, streams.router, oip.router):
        app.include_router(routes, dependencies=[Depends(only_known)])
    app.get("/healthz")(health)
    app.get("/readyz", responses={503: {"model": schemas.ErrorAnswer}})(ready)
    app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})(metrics)
    app.get("/", include_in_schema=False)(page)
    app.mount("/static", StaticFiles(directory=PAGE))
    app.exception_handler(StarletteHTTPException)(_refused)
    app.exception_handler(RequestValidationError)(_misused)
    app.add_middleware(Guard, meter=service.meter, token=token, hosts=hosts, origins=origins)
    if origins:
        headers = ["Authorization", "Content-Type", oip.LENGTH]
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=headers,
            expose_headers=["Retry-After", oip.LENGTH],
        )
    return app


async def health() -> dict[str, bool]:
    """Whether the process answers; it does while the queue is full."""
    return {"live": True}


async def ready(request: Request) -> dict[str, bool]:
    """Whether it takes frames."""
    if not service_of(request).ready:
        raise HTTPException(503, "is stopping")
    return {"ready": True}


async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(service_of(request).meter.text(), media_type="text/plain; version=0.0.4")


async def page() -> Response:
    return FileResponse(PAGE / "index.html")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    if service.follower:
        service.follower.start()
    try:
        yield
    finally:
        service.stop()
        service.close()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _misused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = [f"{'.'.join(str(part) for part in found['loc'][1:])}: {found['msg']}" for found in error.errors()]
    return JSONResponse({"error": "; ".join(lines)}, 422)
