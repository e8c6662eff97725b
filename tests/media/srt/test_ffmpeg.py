"""Debian's ffmpeg, which has libsrt, as encoder and as reader."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from media.stream import AUDIO, VIDEO, Phase
from media.units import Codec
from tests.support.ffmpeg import push_command, pushing, run
from tests.support.rtmp_server import eventually
from tests.support.srt_server import KEY, PUBLISH, READ, ROOM, SrtHouse, srt_house

pytestmark = pytest.mark.external

PROBE = ("-analyzeduration", "1000000")
PASSPHRASE = "correct-horse-battery"


@pytest.fixture
async def house() -> AsyncIterator[SrtHouse]:
    async with srt_house() as each:
        yield each


def url(house: SrtHouse, stream_id: str, **options: str | int) -> str:
    """The stream id is given as it is, as people paste it, unless it would end the query."""
    safe = stream_id if "?" not in stream_id and "&" not in stream_id else quote(stream_id)
    tail = "".join(f"&{name}={value}" for name, value in options.items())
    return f"srt://127.0.0.1:{house.port}?streamid={safe}{tail}"


async def pushed(house: SrtHouse, stream_id: str, **options: str | int) -> tuple[int, str]:
    # Without linger ffmpeg goes before its last packets are sent.
    command = push_command(url(house, stream_id, linger=3, **options), seconds=1)
    status, _, err = await run(command)
    return status, err


@pytest.mark.parametrize(
    "stream_id",
    [
        PUBLISH,
        f"publish:{ROOM}:{KEY}",
        f"publish:live/{ROOM}:user:{KEY}",
        f"live/{ROOM}?key={KEY}",
        f"#!::r=live/{ROOM},u=joe,m=publish,t=stream,x_more=1,s={KEY}#feedbackplay",
    ],
)
async def test_every_shape_of_stream_id_publishes(house: SrtHouse, stream_id: str) -> None:
    status, err = await pushed(house, stream_id)

    assert (status, err) == (0, "")
    assert {track.codec for track in house.stream.tracks} == {Codec.H264, Codec.AAC}
    pictures = [unit for unit in house.units if unit.track == VIDEO]
    assert len(pictures) == 30
    assert len([unit for unit in house.units if unit.track == AUDIO]) >= 45
    assert house.stream.phase is Phase.GRACE


@pytest.mark.parametrize("key_length", [16, 24, 32])
async def test_a_passphrase_with_every_key_length(house: SrtHouse, key_length: int) -> None:
    house.keys.passphrase = PASSPHRASE

    status, err = await pushed(house, PUBLISH, passphrase=PASSPHRASE, pbkeylen=key_length)

    assert (status, err) == (0, "")
    assert len([unit for unit in house.units if unit.track == VIDEO]) == 30


async def test_keys_are_renewed_during_a_push(house: SrtHouse) -> None:
    house.keys.passphrase = PASSPHRASE

    renewal = {"kmrefreshrate": 60, "kmpreannounce": 20}
    target = url(house, PUBLISH, passphrase=PASSPHRASE, pbkeylen=16, linger=3, **renewal)
    status, _, _ = await run(push_command(target, seconds=2))

    assert status == 0
    assert len([unit for unit in house.units if unit.track == VIDEO]) == 60


@pytest.mark.parametrize(
    ("stream_id", "wanted", "given"),
    [
        (PUBLISH, PASSPHRASE, "another-passphrase"),
        (PUBLISH, PASSPHRASE, ""),
        (PUBLISH, None, PASSPHRASE),
        (f"#!::m=publish,r={ROOM},s=wrong", None, ""),
        (f"#!::m=publish,r=nowhere,s={KEY}", None, ""),
        ("#!::m=bidirectional,r=demo", None, ""),
    ],
)
async def test_who_may_not_is_refused(
    house: SrtHouse, stream_id: str, wanted: str | None, given: str
) -> None:
    house.keys.passphrase = wanted

    options = {"passphrase": given} if given else {}
    status, err = await pushed(house, stream_id, **options)

    assert status != 0
    assert "REJECT reported" in err
    assert house.hub.streams == ()


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
async def test_ffprobe_reads_the_stream_back(house: SrtHouse, passphrase: str | None) -> None:
    house.keys.passphrase = passphrase
    options = {"passphrase": passphrase} if passphrase else {}
    async with pushing(push_command(url(house, PUBLISH, **options))):
        await eventually(lambda: len(house.units) > 60, timeout_s=20)
        status, out, err = await run(
            [
                *("ffprobe", "-v", "error", *PROBE, "-read_intervals", "%+2"),
                *("-show_entries", "packet=stream_index,pts_time:stream=codec_name"),
                *("-of", "csv", url(house, READ, **options)),
            ]
        )

    lines = [line.split(",") for line in out.split()]
    assert (status, err) == (0, "")
    assert {line[1] for line in lines if line[0] == "stream"} == {"h264", "aac"}
    for index in {line[1] for line in lines if line[0] == "packet"}:
        times = [float(line[2]) for line in lines if line[:2] == ["packet", index]]
        assert times == sorted(times)
        assert len(times) > 40


async def test_ffmpeg_decodes_what_it_reads_back(house: SrtHouse) -> None:
    async with pushing(push_command(url(house, PUBLISH))):
        await eventually(lambda: len(house.units) > 60, timeout_s=20)
        status, _, err = await run(
            [
                *("ffmpeg", "-v", "error", "-nostdin", "-xerror", *PROBE, "-i", url(house, READ)),
                *("-frames:v", "60", "-f", "null", "-"),
            ]
        )

    assert (status, err) == (0, "")


async def test_a_killed_encoder_comes_back(house: SrtHouse) -> None:
    async with pushing(push_command(url(house, PUBLISH))):
        await eventually(lambda: len(house.units) > 60, timeout_s=20)
    before = len(house.units)

    async with pushing(push_command(url(house, PUBLISH))):
        await eventually(lambda: len(house.units) > before + 60, timeout_s=20)

    assert len(house.recorders) == 1, "the stream went on"
    assert house.server.connections <= 1 or await _settled(house)


async def _settled(house: SrtHouse) -> bool:
    await eventually(lambda: house.server.connections == 0, timeout_s=6)
    return True


async def test_encoders_that_fight_for_a_room_leave_nothing_behind(house: SrtHouse) -> None:
    """Each takes the room over from the one before."""
    tasks = len(asyncio.all_tasks())
    await asyncio.gather(*(pushed(house, PUBLISH) for _ in range(4)))

    await eventually(lambda: house.server.connections == 0)
    assert len(asyncio.all_tasks()) == tasks
