"""No key, password or token in any line of the log, whoever comes with what, at any level."""

from pathlib import Path
from typing import Literal

import pytest
from aiohttp import ClientSession

from tests.support.ffmpeg import push_command, run
from tests.support.vitrine import serve

pytestmark = [pytest.mark.external, pytest.mark.timeout(180)]

WRONG = "WrongKeyThatNobodyMaySee"


@pytest.mark.parametrize("form", ["console", "json"])
async def test_nothing_secret_is_logged(tmp_path: Path, form: Literal["console", "json"]) -> None:
    passphrase = "passphrase-of-the-house"
    environ = {
        "VITRINE_SERVER__LOG_LEVEL": "debug",
        "VITRINE_SERVER__LOG_FORMAT": form,
        "VITRINE_MEDIA__SRT_PASSPHRASE": passphrase,
        "PYTHONASYNCIODEBUG": "1",
        "PYTHONDEVMODE": "1",
    }
    async with serve(tmp_path, environ=environ) as server, ClientSession() as http:
        first = server.first_run
        key, admin = first["stream_key"], first["admin"]
        rtmp, srt = first["rtmp"], first["srt"]
        assert (await run(push_command(rtmp, seconds=2)))[0] == 0
        assert (await run(push_command(f"{srt}&pbkeylen=16", seconds=2)))[0] == 0
        server_address = rtmp.partition("/demo?")[0]
        for address in (
            rtmp.replace(key, WRONG),
            f"{server_address}?key={WRONG}/demo",
            f"{server_address}/{WRONG}",
            f"{server_address}/{WRONG}?key={WRONG}",
            f"{server_address}/{WRONG}/demo",
            srt.replace(key, WRONG),
            srt.replace("r=demo", f"r={WRONG}").replace(key, WRONG),
            srt.replace(passphrase, WRONG),
            srt.replace("#!::m=publish,r=demo,s=", "publish:demo:").replace(key, WRONG),
        ):
            assert (await run(push_command(address, seconds=2)))[0] != 0, address
        bearer = {"Authorization": f"Bearer {WRONG}"}
        api = f"{server.http}/api/v1"
        async with http.post(f"{api}/auth/login", json={**admin, "password": WRONG}) as reply:
            assert reply.status == 401
        async with http.post(f"{api}/auth/login", json=admin) as reply:
            token = (await reply.json())["access_token"]
        mine = {"Authorization": f"Bearer {token}"}
        async with http.get(f"{api}/rooms?key={WRONG}", headers=bearer) as reply:
            assert reply.status == 401
        body = {"slug": "two", "title": "Two", "srt_passphrase": passphrase + "2"}
        async with http.post(f"{api}/rooms", json=body, headers=mine) as reply:
            second = (await reply.json())["stream_key"]
        async with http.post(f"{api}/rooms/demo/stream-key/rotate", headers=mine) as reply:
            third = (await reply.json())["stream_key"]
        async with http.post(f"{server.http}/whip/demo", data=b"v=0", headers=bearer) as reply:
            assert reply.status in (401, 404, 405)
        for path in ("/whep/demo", f"/hls/demo/index.m3u8?token={WRONG}", f"/{WRONG}"):
            async with http.get(server.http + path, headers=bearer) as reply:
                assert reply.status < 500
        await server.stop()

    assert len(server.log) > 20
    for secret in (key, second, third, token, admin["password"], passphrase, WRONG):
        assert [line for line in server.log if secret in line] == []
    assert not [line for line in server.log if "Traceback" in line]
