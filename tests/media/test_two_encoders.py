"""Two of Debian's ffmpegs that want the same room, by whichever protocol."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from media.hub import Takeover
from media.rtmp.server import RtmpServer
from media.stream import Phase
from tests.support.ffmpeg import push_command, pushing, run
from tests.support.rtmp_server import eventually
from tests.support.srt_server import KEY, PUBLISH, ROOM, SrtHouse, srt_house

pytestmark = pytest.mark.external


class Doors:
    """An RTMP and an SRT port before one hub; the room's key is of the kind that rejects."""

    def __init__(self, house: SrtHouse, rtmp_port: int) -> None:
        self.house = house
        self.addresses = {
            "rtmp": f"rtmp://127.0.0.1:{rtmp_port}/live/{ROOM}?key={KEY}",
            "srt": f"srt://127.0.0.1:{house.port}?streamid={PUBLISH}&linger=3",
        }

    async def until_more_units(self) -> None:
        heard = len(self.house.units)
        await eventually(lambda: len(self.house.units) > heard + 30)


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    async with srt_house() as house:
        house.keys.policy = Takeover.REJECT
        rtmp = RtmpServer(house.hub, house.keys)
        port = await rtmp.start("127.0.0.1", 0)
        yield Doors(house, port)
        await rtmp.close()


@pytest.mark.parametrize("first", ["rtmp", "srt"])
async def test_who_comes_second_is_told_and_the_first_notices_nothing(
    doors: Doors, first: str
) -> None:
    house = doors.house
    async with pushing(push_command(doors.addresses[first])) as encoder:
        await doors.until_more_units()
        publisher = house.stream.publisher
        with capture_logs() as logs:
            by_rtmp = await run(push_command(doors.addresses["rtmp"], seconds=5))
            by_srt = await run(push_command(doors.addresses["srt"], seconds=5))
        await doors.until_more_units()

        assert by_rtmp[0] != 0
        assert "is being published already" in by_rtmp[2]
        assert by_srt[0] != 0
        assert "REJECT reported" in by_srt[2]
        assert [(line["event"], line["code"]) for line in logs] == [
            ("rtmp.publish_refused", "conflict"),
            ("srt.refused", 1409),
        ]
        assert encoder.returncode is None
        assert house.stream.publisher == publisher
        assert house.stream.phase is Phase.LIVE
        assert len(house.recorders) == 1
        assert "gap" not in house.recorders[0].names()
        encoder.terminate()
        await encoder.wait()

    await eventually(lambda: house.stream.phase is Phase.GRACE)
    async with pushing(push_command(doors.addresses["srt"])):
        await doors.until_more_units()
        assert len(house.recorders) == 1
