"""Who may ask, and what browsers are told: the outermost layer of the service."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyp_monai.serve.meter import Meter

logger = logging.getLogger(__name__)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN = frozenset({"/", "/healthz", "/readyz", "/favicon.ico", "/v2/health/live", "/v2/health/ready"})  # without a token
LIVE = "/v1/live"  # asks for the token in its first message, since browsers send no headers there
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """Checks token, host and origin of each request, counts it, and adds the security headers to its answer.

    Args:
        app: what answers.
        meter: counts.
        token: that clients must send, if any.
        hosts: names by which the service may be called; empty for any. On loopback it holds back pages elsewhere whose
            name was bound anew to this machine.
        origins: of pages elsewhere that may call it, such as https://polyp.example.org.
    """

    def __init__(
        self, app: ASGIApp, meter: Meter, token: str | None, hosts: Iterable[str], origins: Iterable[str]
    ) -> None:
        self._app, self._meter = app, meter
        self._token = token.encode() if token else None
        self._origins = frozenset(origins)
        self._hosts = frozenset(hosts) and frozenset(hosts) | {
            urlsplit(origin).hostname or "" for origin in self._origins
        }

    def accepts(self, token: str) -> bool:
        """Whether it is the token, in a time that does not tell how much of it was right."""
        return self._token is None or hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope["guard"] = self
        refusal = self._refusal(scope, Headers(scope=scope))
        try:
            if refusal is None:
                await self._app(scope, receive, sending)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            else:
                await _say(sending, *refusal)
        except Exception as error:
            # the text of an error may hold anything of a request; its place in the code does not
            logger.exception(f"{type(error).__name__} while answering {_route(scope)}")
            if status:
                raise
            await _say(sending, 500, "something went wrong here; the log of the service says where")
        finally:
            if scope["type"] == "http":
                self._meter.requests.labels(_route(scope), str(status)).inc()

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            return 403, "this service is called by localhost alone"
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and urlsplit(origin).netloc != host:
            return 403, "pages of other sites may not call this service"
        elsewhere = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if elsewhere and origin not in self._origins and headers.get("sec-fetch-mode") != "navigate":
            return 403, "pages of other sites may not call this service"
        path = scope["path"]
        if self._token is None or path in OPEN or path.startswith("/static/") or path == LIVE:
            return None
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.accepts(token.strip()):
            return None
        return 401, "a token is needed: Authorization: Bearer TOKEN"


async def _say(send: Send, status: int, line: str) -> None:
    body = json.dumps({"error": line}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _name(host: str) -> str:
    """The host of a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _route(scope: Scope) -> str:
    """The path as the route declares it, so that no client can make up new series."""
    return getattr(scope.get("route"), "path", "other")
