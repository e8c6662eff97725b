"""The OpenAPI 3.1 document, written from the endpoints' own types, so that it cannot lie."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from signaling.http.bodies import ProblemBody
from signaling.http.endpoint import Endpoint, Nothing

PREFIX: Final = "/api/v1"
_REF: Final = "#/components/schemas/{name}"


def document(endpoints: Sequence[Endpoint[Any, Any]], *, version: str) -> bytes:
    """The document as JSON."""
    types = {e.answer for e in endpoints} | {e.body for e in endpoints} | {ProblemBody}
    ordered = sorted(types - {Nothing}, key=lambda t: t.__name__)
    references, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    by_type = dict(zip(ordered, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(PREFIX + endpoint.path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, by_type, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Vitrine", "version": version},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _operation(
    endpoint: Endpoint[Any, Any], by_type: dict[type, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", endpoint.path)
        ],
        "responses": _responses(endpoint, by_type),
        "security": [{"bearer": []}] if endpoint.roles else [{}, {"bearer": []}],
    }
    if endpoint.body is Nothing:
        return operation
    if endpoint.method == "GET":
        query = schemas[endpoint.body.__name__]
        operation["parameters"] += [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in query["properties"].items()
        ]
    else:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_type[endpoint.body]}},
        }
    return operation


def _responses(endpoint: Endpoint[Any, Any], by_type: dict[type, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(int(endpoint.status)): {
            "description": (endpoint.answer.__doc__ or "").split("\n\n")[0],
            "content": {"application/json": {"schema": by_type[endpoint.answer]}},
        }
    }
    codes = {status: list(names) for status, names in (endpoint.codes or {}).items()}
    codes.setdefault(401, []).append("invalid_token")
    if endpoint.roles:
        codes[401].append("unauthorized")
        codes[403] = ["forbidden"]
    if endpoint.body is not Nothing:
        codes.setdefault(422, []).append("invalid_request")
        if endpoint.method != "GET":
            codes |= {
                400: ["malformed_json"],
                408: ["body_too_slow"],
                413: ["too_large"],
                415: ["unsupported_media_type"],
            }
    for status, names in sorted(codes.items()):
        responses[str(status)] = {
            "description": ", ".join(f"`{name}`" for name in names),
            "content": {"application/problem+json": {"schema": by_type[ProblemBody]}},
        }
    return responses
