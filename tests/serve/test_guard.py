"""Who may ask: token, host, origin; and what browsers are told."""

from __future__ import annotations

import pytest
from starlette.websockets import WebSocketDisconnect

from polyp_monai.serve.guard import OPEN
from polyp_monai.serve.limits import Limits
from tests.serve.conftest import drawn, encoded, served

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def closed(loaded):
    with served(loaded, Limits(), token=TOKEN) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/bundles", "/v1/samples", "/v2", "/v2/models/tiny", "/metrics", "/openapi.json"])
def test_a_token_is_asked_for(closed, path):
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        answer = closed.get(path, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert set(answer.json()) == {"error"}
    assert closed.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_token_is_asked_for_before_the_body_is_read(closed):
    assert closed.post("/v1/predict", content=encoded(drawn(0))).status_code == 401
    assert closed.post("/v1/predict", content=b"", headers={"authorization": b"Bearer \xff"}).status_code == 401


def test_health_and_the_page_need_none(closed):
    for path in OPEN - {"/favicon.ico"}:
        assert closed.get(path).status_code == 200, path
    assert closed.get("/static/index.html").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "[", "localhost.evil"]
)
def test_names_that_were_bound_anew_are_refused(client, host):
    assert client.get("/v1/bundles", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:1", "[::1]:7860", "LOCALHOST"])
def test_names_of_this_machine(client, host):
    assert client.get("/v1/bundles", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
)
def test_pages_of_others_are_refused(client, headers):
    answer = client.post("/v1/predict", content=encoded(drawn(0)), headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"error": "pages of other sites may not call this service"})
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://127.0.0.1/v1/live", headers=headers):
        pass


def test_its_own_page_and_links_to_it_are_well(client):
    own = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
    assert client.get("/v1/bundles", headers=own).status_code == 200
    assert client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200


def test_no_cors_unless_asked(loaded, client):
    origin = "https://polyp.example.org"
    assert client.options("/v1/predict", headers={"origin": origin}).status_code == 403
    with served(loaded, Limits(), origins=[origin], token=TOKEN) as asked:
        before = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        }
        answer = asked.options("/v1/predict", headers=before)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        headers = {"origin": origin, "authorization": f"Bearer {TOKEN}", "sec-fetch-site": "cross-site"}
        assert asked.get("/v1/bundles", headers=headers).headers["access-control-allow-origin"] == origin
        assert asked.get("/v1/bundles", headers={**headers, "host": "polyp.example.org"}).status_code == 200


def test_headers_of_every_answer(client):
    for answer in (client.get("/v1/bundles"), client.get("/nothing"), client.get("/", headers={"host": "evil"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_errors_are_one_line(client):
    for answer in (
        client.get("/nothing"),
        client.put("/v1/predict"),
        client.post("/v1/predict?threshold=nan", content=b""),
    ):
        assert set(answer.json()) == {"error"}
        assert 400 <= answer.status_code < 500


def test_metrics_count_routes_not_paths(client):
    client.get("/made/up/by/a/client")
    assert client.post("/v1/predict", content=encoded(drawn(0))).status_code == 200
    text = client.get("/metrics").text
    assert 'polyp_requests_total{route="other",status="404"}' in text
    assert "made/up" not in text
    assert 'polyp_stage_seconds_bucket{le="0.5",stage="network"}' in text
    assert "polyp_queue_depth 0.0" in text
