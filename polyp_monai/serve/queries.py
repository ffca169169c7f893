"""The parameters of a request: those that its route has, each once."""

from __future__ import annotations

from fastapi import HTTPException, WebSocketException
from starlette.requests import HTTPConnection

from polyp_monai.bundle.values import did_you_mean


def only_known(connection: HTTPConnection) -> None:
    """A dependency of routes. What is misspelt would change nothing without a word.

    Raises:
        HTTPException, WebSocketException: 422, 1008.
    """
    known = [field.alias for field in connection.scope["route"].dependant.query_params]
    given = [name for name, _ in connection.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise _refusal(connection, f"{name}: no such parameter of this route{did_you_mean(name, known)}")
        if given.count(name) > 1:
            raise _refusal(connection, f"{name}: is given twice")


def _refusal(connection: HTTPConnection, reason: str) -> Exception:
    if connection.scope["type"] == "websocket":
        return WebSocketException(1008, reason[:100])
    return HTTPException(422, reason)
