"""The document agrees with what the server does."""

import json
import re
from typing import Any

from signaling.entities import Role
from tests.support.signaling import open_api


async def test_every_endpoint_is_described_and_every_reference_leads_somewhere() -> None:
    async with open_api() as api:
        status, document = await api.get("/openapi.json")

    assert status == 200
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/api/v1/auth/login",
        "/api/v1/rooms",
        "/api/v1/rooms/{room}",
        "/api/v1/rooms/{room}/stream-key/rotate",
    }
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in schemas
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 5


async def test_an_answer_has_the_fields_that_its_schema_lists() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        _, document = await api.get("/openapi.json")
        _, made = await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)
        api.signaling.live.go_live("one")
        _, room = await api.get("/rooms/one", bearer)
        _, rooms = await api.get("/rooms")
        _, problem = await api.get("/rooms/two")

    def schema(method: str, path: str, status: str) -> Any:
        content = document["paths"][path][method]["responses"][status]["content"]
        (media,) = content.values()
        name = media["schema"]["$ref"].rsplit("/", 1)[-1]
        return set(document["components"]["schemas"][name]["properties"])

    assert schema("post", "/api/v1/rooms", "201") == set(made)
    assert schema("get", "/api/v1/rooms/{room}", "200") == set(room)
    assert schema("get", "/api/v1/rooms", "200") == set(rooms)
    assert schema("get", "/api/v1/rooms/{room}", "404") == set(problem)


async def test_the_parameters_are_those_of_path_and_query() -> None:
    async with open_api() as api:
        _, document = await api.get("/openapi.json")

    listed = document["paths"]["/api/v1/rooms"]["get"]["parameters"]
    assert {p["name"]: p["in"] for p in listed} == {
        "after": "query",
        "limit": "query",
        "live": "query",
    }
    room = document["paths"]["/api/v1/rooms/{room}"]["get"]["parameters"]
    assert [(p["name"], p["in"], p["required"]) for p in room] == [("room", "path", True)]
