"""The OpenAPI 3.1 document, from the table of routes and the commands' types."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import msgspec

from sekisho.http import answers, decode, spelling
from sekisho.http.route import Route, in_order
from sekisho.kernel.command import Kind
from sekisho.kernel.facts import ANONYMOUS
from sekisho.kernel.proposals import Proposed
from sekisho_wire.problems import Details, all_problems

Json: TypeAlias = dict[str, Any]

_TEMPLATE = "#/components/schemas/{name}"
_STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 507)
_MOMENT: Json = {"type": "string", "format": "date-time"}
_KEY_PARAMETER: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key again within a day gets the first answer; for another request it is refused.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}
_LANGUAGE_PARAMETER: Json = {
    "name": decode.LANGUAGE,
    "in": "query",
    "required": False,
    "description": "Language of sentences for people; else Accept-Language decides.",
    "schema": {"type": "string", "enum": ["en", "ja"]},
}


def document(routes: Sequence[Route]) -> Json:
    """The whole document. Deterministic: the same routes give the same bytes."""
    ordered = in_order(routes)
    results, components = _schemas(ordered)
    paths: dict[str, Json] = {}
    for route in ordered:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, results[route.path, route.method]
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sekisho",
            "version": version("sekisho"),
            "description": "Every operation is one command; its operationId is the command's name, which is also "
            "the action in the charter and in evidence.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in sorted({_tag(route) for route in ordered})],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": {"IdempotencyKey": _KEY_PARAMETER, "Language": _LANGUAGE_PARAMETER},
            "responses": {"Problem": _problem_response()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[dict[tuple[str, str], Json], Json]:
    """The answer's schema per route, and every named schema."""
    types = [route.spec.result for route in routes]
    commands = [route.command for route in routes]
    found, components = msgspec.json.schema_components(
        [*types, *commands, Proposed, Details], ref_template=_TEMPLATE
    )
    by_route = dict(zip([(route.path, route.method) for route in routes], found, strict=False))
    results: dict[tuple[str, str], Json] = {
        (route.path, route.method): _result(
            route, spelling.respell_schema(by_route[route.path, route.method])
        )
        for route in routes
    }
    asked = {
        by_command["$ref"].rpartition("/")[2] for by_command in found[len(types) : len(types) + len(commands)]
    }
    shown = {name: spelling.respell_schema(schema) for name, schema in sorted(components.items())}
    return results, {name: schema for name, schema in shown.items() if name not in asked}


def _result(route: Route, schema: Json) -> Json:
    result = route.spec.result
    if spelling.is_list(result):
        return {
            "type": "object",
            "properties": {"items": schema, "next": {"type": ["string", "null"]}},
            "required": ["items", "next"],
        }
    if result is msgspec.Raw:
        return {"type": "object"}
    if result is type(None) or result is None:
        return {"type": "object"}
    if not spelling.is_object(result):
        return {"type": "object", "properties": {"result": schema}, "required": ["result"]}
    return schema


def _operation(route: Route, result: Json) -> Json:
    spec = route.spec
    operation: Json = {
        "operationId": spec.name,
        "tags": [_tag(route)],
        "summary": spec.en,
        "description": _description(route),
        "parameters": _parameters(route),
        "responses": _responses(route, result),
    }
    if ANONYMOUS.ref.type in spec.principals:
        anybody: list[dict[str, list[str]]] = [{}, {"token": []}]
        operation["security"] = anybody
    if route.takes_body:
        schema = _body(route)
        if schema["properties"]:
            content = {"application/json": {"schema": schema}}
            operation["requestBody"] = {"required": "required" in schema, "content": content}
    return operation


def _description(route: Route) -> str:
    spec = route.spec
    kind = {
        Kind.RECORDED: "Decided by the charter and recorded as evidence.",
        Kind.READ: "Decided by the charter; leaves a record only at level 2 and above.",
        Kind.PLUMBING: "Asks no charter and leaves no record.",
    }[spec.kind]
    two = " Needs two people: the first answer is 202 with a proposal." if spec.two_people else ""
    return f"{kind}{two}"


def _tag(route: Route) -> str:
    return route.spec.name.partition(".")[0]


def schema_of(route: Route) -> Mapping[str, Json]:
    """The JSON schema of each field of the route's command, by its name in the API."""
    struct = _struct_schema(route)
    properties: dict[str, Json] = {}
    for field in msgspec.structs.fields(route.command):
        given = struct["properties"][field.name]
        properties[spelling.api_name(field.name)] = _MOMENT if decode.is_moment(field) else given
    return properties


def resolved(field: msgspec.structs.FieldInfo, schema: Json) -> Json:
    """A field's schema without the choice of null and without a reference to a named type."""
    plain = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    if len(plain) != 1:
        return {}
    reference = plain[0].get("$ref")
    if reference is None:
        return plain[0]
    _, components = msgspec.json.schema_components([field.type], ref_template=_TEMPLATE)
    return components[reference.rpartition("/")[2]]


def required(route: Route) -> frozenset[str]:
    """Names in the API of the fields that must be given."""
    return frozenset(
        spelling.api_name(field.name) for field in msgspec.structs.fields(route.command) if field.required
    )


def _struct_schema(route: Route) -> Json:
    (schema,), components = msgspec.json.schema_components([route.command], ref_template=_TEMPLATE)
    return components[schema["$ref"].rpartition("/")[2]]


def _body(route: Route) -> Json:
    fields = {name: schema for name, schema in schema_of(route).items() if name not in route.placeholders}
    needed = sorted(required(route) - set(route.placeholders))
    return {
        "type": "object",
        "properties": fields,
        **({"required": needed} if needed else {}),
        "additionalProperties": False,
    }


def _parameters(route: Route) -> list[Json]:
    schemas, needed = schema_of(route), required(route)
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"minLength": 1, **schemas[name]}}
        for name in route.placeholders
    ]
    if not route.takes_body:
        parameters += [
            {"name": name, "in": "query", "required": name in needed, "schema": schema}
            for name, schema in schemas.items()
            if name not in route.placeholders
        ]
    if route.spec.kind is Kind.RECORDED:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    parameters.append({"$ref": "#/components/parameters/Language"})
    return parameters


def _responses(route: Route, result: Json) -> Json:
    content = {"application/json": {"schema": result}}
    if route.download:
        content = {route.media: {"schema": {"type": "string", "format": "binary"}}}
    responses: Json = {
        str(route.status): {"description": http.HTTPStatus(route.status).phrase, "content": content}
    }
    if route.spec.two_people:
        proposed = {"application/json": {"schema": {"$ref": _TEMPLATE.format(name="Proposed")}}}
        responses["202"] = {"description": "Waits for a second person.", "content": proposed}
    responses |= {str(status): {"$ref": "#/components/responses/Problem"} for status in _STATUSES}
    return responses


def _problem_response() -> Json:
    return {
        "description": "A problem (RFC 9457). `code` is stable; `detail` and `hint` are for people.",
        "content": {
            answers.PROBLEM_MEDIA: {
                "schema": {"$ref": _TEMPLATE.format(name="Details")},
                "examples": {
                    code: {"value": {"code": code, "status": problem.status}}
                    for code, problem in all_problems().items()
                    if code in {"charter.denied", "input.unknown_field", "not_found"}
                },
            }
        },
    }
