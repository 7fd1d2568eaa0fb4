"""OpenAPI 3.1, derived from the table of endpoints and the messages in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from colonnade.messages import Message
from colonnade.presentation.endpoints import Api, Endpoint, Get, Post

__all__ = ["openapi_document"]

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Tells programs what went wrong."},
        "title": {"type": "string", "description": "What this kind of problem is about."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What went wrong this time."},
    },
}

_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request with the same key and body has one effect and one answer, for 48 hours.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    "ConsistencyToken": {
        "name": "Colonnade-Token",
        "in": "header",
        "description": "The header of an earlier answer: what is read is at least as new.",
        "schema": {"type": "string"},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag of an answer that the caller has; 304 says that it is still so.",
        "schema": {"type": "string"},
    },
    "RequestTimeout": {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "For how many seconds the caller waits; then the answer is 504.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 300},
    },
    "CorrelationId": {
        "name": "X-Correlation-ID",
        "in": "header",
        "description": "Shared by all that follows from this request; made when it is absent.",
        "schema": {"type": "string", "format": "uuid"},
    },
}


def openapi_document(
    service: str, version: str, api: Api, answers: Mapping[type[Message], Any], prefix: str
) -> dict[str, Any]:
    """The OpenAPI document of a service.

    `answers` tells what each message is answered with (`None`'s type for nothing), `prefix` where the gateway serves
    the endpoints, like `/api/ordering`.
    """
    kinds = [endpoint.message for endpoint in api.endpoints] + [
        answers[endpoint.message] for endpoint in api.endpoints if not _is_nothing(answers[endpoint.message])
    ]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(map(_key, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in api.endpoints:
        message_schema = _resolved(by_kind[_key(endpoint.message)], components)
        answer = answers[endpoint.message]
        answer_schema = None if _is_nothing(answer) else by_kind[_key(answer)]
        paths.setdefault(f"{prefix}{endpoint.path}", {})[endpoint.method.lower()] = _operation(
            service, endpoint, message_schema, answer_schema
        )
    sent = {endpoint.message.__name__ for endpoint in api.endpoints}
    return {
        "openapi": "3.1.0",
        "info": {"title": service, "version": version},
        "paths": paths,
        "components": {
            "schemas": {
                **{name: schema for name, schema in components.items() if name not in sent},
                "Problem": _PROBLEM,
            },
            "parameters": dict(_HEADERS),
        },
    }


def _operation(
    service: str, endpoint: Endpoint, message: Mapping[str, Any], answer: Mapping[str, Any] | None
) -> dict[str, Any]:
    properties: Mapping[str, Any] = message.get("properties", {})
    required: Sequence[str] = message.get("required", ())
    example = _example(endpoint)
    names = endpoint.path_names
    operation: dict[str, Any] = {
        "operationId": endpoint.message.__name__,
        "tags": [service],
        "summary": (endpoint.message.__doc__ or endpoint.message.__name__).strip().splitlines()[0],
        "parameters": [_parameter("path", name, properties[name], True, example) for name in names],
        "responses": _responses(endpoint, answer),
    }
    rest = {name: schema for name, schema in properties.items() if name not in names}
    if isinstance(endpoint, Post):
        if rest:
            body: dict[str, Any] = {"type": "object", "properties": rest, "additionalProperties": False}
            if needed := [name for name in required if name in rest]:
                body["required"] = needed
            content: dict[str, Any] = {"schema": body}
            if example:
                content["example"] = {name: value for name, value in example.items() if name in rest}
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        operation["parameters"].append({"$ref": "#/components/parameters/IdempotencyKey"})
    else:
        operation["parameters"] += [
            _parameter("query", name, schema, name in required, example) for name, schema in rest.items()
        ]
        operation["parameters"].append({"$ref": "#/components/parameters/ConsistencyToken"})
        if endpoint.cache is not None:
            operation["parameters"].append({"$ref": "#/components/parameters/IfNoneMatch"})
    operation["parameters"] += [
        {"$ref": "#/components/parameters/RequestTimeout"},
        {"$ref": "#/components/parameters/CorrelationId"},
    ]
    return operation


def _parameter(
    place: str, name: str, schema: Mapping[str, Any], required: bool, example: Mapping[str, Any]
) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": place, "required": required, "schema": schema}
    if example.get(name) is not None:
        parameter["example"] = example[name]
    return parameter


def _responses(endpoint: Endpoint, answer: Mapping[str, Any] | None) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: dict[str, Any] = {}
    if isinstance(endpoint, Post) and endpoint.creates is not None:
        created = {"type": "object", "required": ["id"], "properties": {"id": answer or {}}}
        responses["201"] = {
            "description": "It is made; Location says where it is.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri-reference"}}},
            "content": {"application/json": {"schema": created}},
        }
    elif answer is None:
        responses["204"] = {"description": "It is done."}
    else:
        responses["200"] = {"description": "The answer.", "content": {"application/json": {"schema": answer}}}
        if isinstance(endpoint, Get) and endpoint.cache is not None:
            responses["200"]["headers"] = {
                "ETag": {"schema": {"type": "string"}},
                "Cache-Control": {"schema": {"type": "string"}},
            }
            responses["304"] = {"description": "The caller has the answer."}
    responses["default"] = {"description": "What went wrong.", "content": problem}
    return responses


def _example(endpoint: Endpoint) -> Mapping[str, Any]:
    return msgspec.to_builtins(endpoint.example) if endpoint.example is not None else {}


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return components[reference.rpartition("/")[2]] if reference is not None else schema


def _is_nothing(answer: Any) -> bool:
    return answer is type(None)


def _key(kind: Any) -> str:
    return repr(kind)
