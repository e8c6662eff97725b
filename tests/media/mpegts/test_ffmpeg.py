"""Against ffmpeg: its streams through our demuxer, ours through its."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import av
import pytest

from media.codecs import h264, hevc
from media.codecs.nal import join_length_prefixed, split_annexb
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.muxer import TsMuxer
from media.stream import AUDIO
from media.units import AccessUnit, Codec, Track, TrackId
from tests.support.ffmpeg import run
from tests.support.mpegts import tracks_of, units_of

pytestmark = pytest.mark.external

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=1.5")
TONE = ("-f", "lavfi", "-i", "sine=duration=1.5")
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-pix_fmt", "yuv420p")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-g", "12", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-ac", "2")
OPUS = ("-c:a", "libopus", "-ac", "2")

STREAMS = {
    "h264 with B-frames and aac": (*PICTURE, *TONE, *X264, *AAC),
    "h264 in slices and opus": (
        *PICTURE, *TONE, *X264, "-bf", "0", "-x264-params", "slices=4", *OPUS,
    ),
    "h264 with open groups": (*PICTURE, *X264, "-x264-params", "open-gop=1:keyint=12"),
    "h264 across the wrap": (*PICTURE, *X264, "-output_ts_offset", "95442.2"),
    "hevc and mono aac": (*PICTURE, *TONE, *X265, "-c:a", "aac", "-ac", "1"),
    "surround opus": (*TONE, "-c:a", "libopus", "-ac", "6", "-mapping_family", "1"),
    "surround aac": (*TONE, "-c:a", "aac", "-ac", "6"),
    "time codes of Blu-ray": (*PICTURE, *X264, "-mpegts_m2ts_mode", "1"),
}  # fmt: skip

PARAMETERS = {
    Codec.H264: (h264.nal_type, {7, 8, 9, 12}),
    Codec.HEVC: (hevc.nal_type, {32, 33, 34, 35, 38}),
}
WRAP = 1 << 33


async def encode(path: Path, arguments: Sequence[str]) -> None:
    command = ["ffmpeg", "-loglevel", "error", "-nostdin", "-y", *arguments, str(path)]
    status, _, error = await run(command)
    assert status == 0, error


def demux(path: Path) -> list[Track | AccessUnit]:
    stream = path.read_bytes()
    demuxer = TsDemuxer()
    items = [i for at in range(0, len(stream), 1316) for i in demuxer.feed(stream[at : at + 1316])]
    items += demuxer.flush()
    assert demuxer.continuity_errors == demuxer.damaged_units == demuxer.resyncs == 0
    return items


def expected_units(path: Path, track: Track) -> list[tuple[int, int, bool, bytes]]:
    """What PyAV's demuxer gives, in the shape of `media.units`."""
    found = []
    with av.open(str(path)) as container:
        (stream,) = (s for s in container.streams if s.type == track.kind)
        for packet in container.demux(stream):
            if not packet.size:
                continue
            assert packet.pts is not None
            assert packet.dts is not None
            data = bytes(packet)
            if track.codec in PARAMETERS:
                nal_type, left_out = PARAMETERS[track.codec]
                nals = [nal for nal in split_annexb(data) if nal_type(nal) not in left_out]
                data = join_length_prefixed(nals)
            elif track.codec is Codec.AAC:
                data = data[7:]
            keyframe = packet.is_keyframe or track.id == AUDIO
            found.append((packet.pts % WRAP, packet.dts % WRAP, keyframe, data))
    return found


@pytest.mark.parametrize("name", STREAMS)
async def test_gives_the_same_frames_as_pyav(tmp_path: Path, name: str) -> None:
    path = tmp_path / "stream.ts"

    await encode(path, STREAMS[name])
    items = demux(path)

    for track in tracks_of(items):
        expected = expected_units(path, track)
        units = [unit for unit in units_of(items) if unit.track == track.id]
        assert [(unit.keyframe, unit.payload) for unit in units] == [e[2:] for e in expected]
        for unit, (pts, dts, _, _) in zip(units, expected, strict=True):
            # Sound within a PES packet is counted, and may be rounded another way.
            slack = 1 if track.codec is Codec.AAC else 0
            assert abs(unit.pts % WRAP - pts) <= slack
            assert abs(unit.dts % WRAP - dts) <= slack
        assert all(a.dts < b.dts for a, b in pairwise(units))


async def test_latm_holds_the_same_frames_as_adts(tmp_path: Path) -> None:
    await encode(tmp_path / "adts.ts", (*TONE, *AAC))
    await encode(tmp_path / "latm.ts", (*TONE, *AAC, "-mpegts_flags", "latm"))

    adts, latm = demux(tmp_path / "adts.ts"), demux(tmp_path / "latm.ts")

    assert [unit.payload for unit in units_of(latm)] == [unit.payload for unit in units_of(adts)]
    assert tracks_of(latm) == tracks_of(adts)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("-c:a", "mp2"), "MPEG-1 audio (MP2 or MP3)"),
        (("-c:a", "ac3"), "AC-3 audio"),
    ],
)
async def test_names_the_sound_that_it_leaves_out(
    tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    await encode(tmp_path / "other.ts", (*TONE, *options))
    demuxer = TsDemuxer()

    items = demuxer.feed((tmp_path / "other.ts").read_bytes())

    assert items == []
    assert demuxer.unsupported == (named,)


@pytest.mark.parametrize("name", STREAMS)
async def test_ffmpeg_reads_what_the_muxer_writes(tmp_path: Path, name: str) -> None:
    await encode(tmp_path / "in.ts", STREAMS[name])
    items = demux(tmp_path / "in.ts")
    muxer = TsMuxer()
    for track in tracks_of(items):
        muxer.set_track(track)
    path = tmp_path / "out.ts"
    path.write_bytes(b"".join(muxer.mux(unit) for unit in units_of(items)))

    status, out, error = await run(
        [
            *("ffprobe", "-loglevel", "warning", "-count_packets", "-of", "csv=p=0"),
            *("-show_entries", "stream=codec_name,nb_read_packets", str(path)),
        ]
    )
    decoded = await run(
        ["ffmpeg", "-loglevel", "warning", "-nostdin", "-i", str(path), "-f", "null", "-"]
    )

    def count(track: TrackId) -> int:
        return sum(unit.track == track for unit in units_of(items))

    assert (status, error) == (0, "")
    lines = {line.strip(",") for line in out.split()}
    assert lines == {f"{track.codec},{count(track.id)}" for track in tracks_of(items)}
    assert (decoded[0], decoded[2]) == (0, "")
