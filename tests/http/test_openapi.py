"""The OpenAPI document is valid, and the server keeps it: schemathesis asks everything in many wrong ways."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from sekisho.http import openapi
from sekisho.http.routes import ROUTES
from tests.http import toyserver
from tests.http.toyserver import Served

load_all_checks()
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]


def _api(server: Served) -> schemathesis.BaseSchema:
    """The document as the running server gives it, less the operation that breaks on purpose."""
    with server.client("") as client:
        document = client.get("/openapi.json").json()
    assert document == json.loads(json.dumps(openapi.document(toyserver.ROUTES)))
    del document["paths"]["/v1/broken"]
    # Who asks is not what is tested here: every request carries a good token.
    del document["security"], document["paths"]["/v1/knock"]["get"]["security"]
    api = schemathesis.openapi.from_dict(document)
    api.config.update(base_url=server.url)
    return api


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_input_breaks_the_server_or_its_promise(server: Served, mode: schemathesis.GenerationMode) -> None:
    operations = [found.ok() for found in _api(server).get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == len(toyserver.ROUTES) - 1
    for operation in operations:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        def ask(case: schemathesis.Case[Any]) -> None:
            if isinstance(case.body, dict) and case.body.get("fail") is True:
                return  # the toy was asked to break
            # In a query some wrong values are spelled by leaving them out, so that only bodies are surely wrong.
            more = [checks.negative_data_rejection] if case.operation.body else []
            case.call_and_validate(headers={"Authorization": "Bearer ann-token"}, checks=[*CHECKS, *more])

        try:
            ask()
        except Unsatisfiable:
            # Nothing can be wrong about an operation that takes nothing.
            assert mode is schemathesis.GenerationMode.NEGATIVE


@pytest.mark.parametrize("routes", [ROUTES, toyserver.ROUTES], ids=["real", "toy"])
def test_every_schema_in_it_is_a_schema(routes: Any) -> None:
    document = openapi.document(routes)
    for name, one in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$defs": {name: one}, **one})
    references = {part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]}
    for reference in references:
        here: Any = document
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]


def test_every_operation_says_who_may_ask_and_what_can_go_wrong() -> None:
    document = openapi.document(toyserver.ROUTES)
    names = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            names.append(operation["operationId"])
            assert "401" in operation["responses"], path
            keyed = any(one.get("$ref", "").endswith("IdempotencyKey") for one in operation["parameters"])
            assert keyed == ("recorded as evidence" in operation["description"]), (method, path)
    assert len(set(names)) == len(names) == len(toyserver.ROUTES)
    assert document["paths"]["/v1/knock"]["get"]["security"] == [{}, {"token": []}]
    assert "202" in document["paths"]["/v1/things/{id}/seal"]["post"]["responses"]
