"""The process around the application: socket, connections, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from polyp_monai.errors import PolypError
from polyp_monai.serve.limits import Limits
from polyp_monai.serve.service import Service

GRACE = 10  # seconds for requests that are under way when the process is asked to stop
SHORTEST = 16  # characters of a token
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(app: FastAPI, listening: socket.socket, certificate: Path | None, key: Path | None) -> None:
    """Serve until SIGINT or SIGTERM; requests that are under way are answered first."""
    service: Service = app.state.service
    found = config(app, service.limits, ssl_certfile=certificate, ssl_keyfile=key)
    server = Stoppable(found, service.stop)
    # uvicorn raises the signal that ended it once more, for the handlers that were there before it
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def config(app: FastAPI, limits: Limits, **more: Any) -> uvicorn.Config:
    """How uvicorn serves `app` within the limits; it writes no line a request."""
    return uvicorn.Config(
        app,
        http=_bounded(limits),
        ws="websockets-sansio",
        ws_max_size=limits.body,
        ws_per_message_deflate=False,  # a small message could unpack to a large one
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
        **more,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound. Raises PolypError when the address is taken, or not of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it would share a port that is in use
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        return found
    except OSError as error:
        raise PolypError(f"{host}:{port}: cannot be used ({error.strerror}); give another --port or --host") from error


def read_token(path: Path) -> str:
    """The token in a file. Raises PolypError when it is short, or more than one line of letters and signs."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise PolypError(f"{path}: {error.strerror}; --token-file names a file with the token") from error
    except UnicodeDecodeError as error:
        raise PolypError(f"{path}: holds more than plain letters and signs") from error
    if len(token) < SHORTEST or not token.isprintable() or " " in token:
        make = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        raise PolypError(f"{path}: a token is one line of {SHORTEST} characters or more; {make} makes one")
    return token


class Stoppable(uvicorn.Server):
    """Calls `on_stop` as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()  # first: streams have no end of their own, and would be waited for
        await super().shutdown(sockets)


def _bounded(limits: Limits) -> type[H11Protocol]:
    class Bounded(H11Protocol):
        """Closes connections beyond the bound, and those that do not ask in time."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._asked = asyncio.get_running_loop().call_later(limits.seconds, self._close_unasked)
            if len(self.connections) > limits.connections:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._asked.cancel()
            super().connection_lost(exc)

        def _close_unasked(self) -> None:
            if self.cycle is None and self in self.connections:  # else it became a WebSocket
                self.transport.abort()

    return Bounded
