"""The service against its own OpenAPI description."""

from __future__ import annotations

import pytest

from polyp_monai.serve.limits import Limits
from tests.serve.conftest import running

CASES = 5000


def test_every_route_is_described(client):
    described = client.get("/openapi.json").json()["paths"]
    expected = {"/v1/predict", "/v1/bundles", "/v1/video", "/v2/models/{name}/infer", "/healthz", "/metrics"}
    assert expected <= described.keys()
    kinds = described["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"application/octet-stream", "multipart/form-data"} <= kinds.keys()
    assert "429" in described["/v1/predict"]["post"]["responses"]


@pytest.mark.slow
def test_no_case_of_schemathesis_is_a_500(loaded):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, settings
    from schemathesis.checks import not_a_server_error

    statuses: dict[int, int] = {}
    with running(loaded, Limits(body=2**20, seconds=10)) as (home, _):
        schema = schemathesis.openapi.from_url(f"{home}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        while sum(statuses.values()) < CASES:  # of a route without parameters there is one case
            for operation in operations:

                @settings(
                    max_examples=CASES // len(operations),
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                def check(case) -> None:
                    answer = case.call(base_url=home, timeout=60)
                    statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
                    case.validate_response(answer, checks=[not_a_server_error])

                schemathesis_strategy(operation)(check)()
    print(f"{sum(statuses.values())} cases over {len(operations)} operations: {dict(sorted(statuses.items()))}")
    assert not [status for status in statuses if status >= 500]


def schemathesis_strategy(operation):
    """A decorator that calls a test with cases of one operation, well formed and not."""
    from hypothesis import given
    from schemathesis import GenerationMode

    both = operation.as_strategy(generation_mode=GenerationMode.POSITIVE) | operation.as_strategy(
        generation_mode=GenerationMode.NEGATIVE
    )
    return given(case=both)
