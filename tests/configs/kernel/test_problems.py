from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from configs.kernel.problems import problem, problems


async def test_errors_become_problems_and_bugs_show_nothing() -> None:
    async def bug(_request: web.Request) -> web.Response:
        raise RuntimeError("the secret")

    async def refused(_request: web.Request) -> web.Response:
        return problem(409, "not_live", "wait", headers={"Retry-After": "2"})

    app = web.Application(middlewares=[problems])
    app.router.add_get("/bug", bug)
    app.router.add_get("/refused", refused)
    async with TestClient(TestServer(app)) as client:
        for path, method, status, code in [
            ("/bug", "GET", 500, "internal"),
            ("/refused", "GET", 409, "not_live"),
            ("/none", "GET", 404, "not_found"),
            ("/bug", "POST", 405, "method_not_allowed"),
        ]:
            reply = await client.request(method, path)
            body = await reply.json()
            assert (reply.status, body["code"]) == (status, code)
            assert reply.content_type == "application/problem+json"
            assert reply.headers["Cache-Control"] == "no-store"
            assert "secret" not in await reply.text()
        assert (await client.get("/refused")).headers["Retry-After"] == "2"
        assert "GET" in (await client.post("/bug")).headers["Allow"]
