import io
from dataclasses import replace

import av
import pytest

from media.codecs import aac
from media.errors import InvalidBitstream
from media.stream import AUDIO, VIDEO
from media.units import CLOCK_RATE, Codec, Kind, Track
from tests.support.hls import Tape, pictures, sound
from tests.support.hls_boxes import boxes, child, runs, timescale_of
from transcoder.hls import cmaf

# av1C and dOps as an encoder wrote them, for the codecs that no test encodes.
AV1 = Track(VIDEO, Codec.AV1, bytes.fromhex("81000c000a0a000000042cd5bf3f2bf2"), 640, 360)
OPUS = Track(AUDIO, Codec.OPUS, bytes.fromhex("0002013800000bb80000 00".replace(" ", "")))


def file_of(tape: Tape, *, per_fragment: int = 10) -> bytes:
    """The tape as one CMAF track, its timestamps untouched."""
    track = tape.track
    scale = cmaf.timescale(track)
    units = list(tape.units)
    times = [round(unit.dts * scale / CLOCK_RATE) for unit in units]
    times.append(round(tape.length * scale / CLOCK_RATE))
    samples = [
        cmaf.Sample(
            time,
            after - time,
            (unit.pts - unit.dts) * scale // CLOCK_RATE,
            unit.keyframe,
            unit.payload,
        )
        for unit, time, after in zip(units, times, times[1:], strict=False)
    ]
    parts = [cmaf.initialization(track)]
    for start in range(0, len(samples), per_fragment):
        number = start // per_fragment + 1
        group = samples[start : start + per_fragment]
        parts.append(cmaf.fragment(number, group, kind=track.kind))
    return b"".join(parts)


@pytest.mark.parametrize(
    "tape",
    [
        pictures(gop=30),
        pictures(gop=30, b_frames=2),
        pictures(codec=Codec.HEVC, gop=30, b_frames=2),
        sound(frames=50),
        sound(frames=50, rate=44100, channels=1),
    ],
    ids=["h264", "h264-b", "hevc-b", "aac", "aac-mono"],
)
def test_another_demuxer_finds_every_unit_at_its_time(tape: Tape) -> None:
    with av.open(io.BytesIO(file_of(tape)), "r") as container:
        stream = container.streams[0]
        packets = [packet for packet in container.demux(stream) if packet.size]

    assert [bytes(packet) for packet in packets] == [unit.payload for unit in tape.units]
    for packet, unit in zip(packets, tape.units, strict=True):
        assert packet.pts is not None
        assert packet.time_base is not None
        assert abs(float(packet.pts * packet.time_base) - unit.pts / CLOCK_RATE) < 1e-4
        assert packet.is_keyframe == unit.keyframe


def test_another_decoder_shows_every_picture() -> None:
    tape = pictures(gop=30, b_frames=2)

    with av.open(io.BytesIO(file_of(tape)), "r") as container:
        shown = list(container.decode(video=0))

    assert len(shown) == 30
    assert (shown[0].width, shown[0].height) == (160, 96)


def test_offsets_may_be_negative() -> None:
    samples = [
        cmaf.Sample(3000, 3000, 0, True, b"a"),
        cmaf.Sample(6000, 3000, 6000, False, b"bb"),
        cmaf.Sample(9000, 3000, -3000, False, b"ccc"),
    ]

    [run] = runs(cmaf.fragment(7, samples, kind=Kind.VIDEO))

    assert (run.sequence, run.time) == (7, 3000)
    assert run.durations == (3000, 3000, 3000)
    assert run.offsets == (0, 6000, -3000)
    assert run.keyframes == (True, False, False)
    assert run.samples == (b"a", b"bb", b"ccc")


@pytest.mark.parametrize("last", [1024, 1025])
def test_sound_may_be_stretched(last: int) -> None:
    samples = [
        cmaf.Sample(0, 1024, 0, True, b"a"),
        cmaf.Sample(1024, last, 0, True, b"bb"),
    ]

    [run] = runs(cmaf.fragment(1, samples, kind=Kind.AUDIO))

    assert run.durations == (1024, last)
    assert run.keyframes == (True, True)
    assert run.samples == (b"a", b"bb")


@pytest.mark.parametrize(
    ("track", "entry", "config"),
    [
        (pictures(gop=30).track, "avc1", "avcC"),
        (pictures(codec=Codec.HEVC, gop=30, b_frames=2).track, "hvc1", "hvcC"),
        (AV1, "av01", "av1C"),
    ],
)
def test_picture_entries_carry_size_and_config(track: Track, entry: str, config: str) -> None:
    stsd = child(cmaf.initialization(track), "moov", "trak", "mdia", "minf", "stbl", "stsd")

    [(name, content)] = boxes(stsd[8:])

    assert name == entry
    assert int.from_bytes(content[24:26]) == track.width
    assert int.from_bytes(content[26:28]) == track.height
    assert boxes(content[78:]) == [(config, track.config)]


def test_opus_entry_carries_its_head() -> None:
    initialization = cmaf.initialization(replace(OPUS, sample_rate=48000, channels=2))

    stsd = child(initialization, "moov", "trak", "mdia", "minf", "stbl", "stsd")

    [(name, content)] = boxes(stsd[8:])
    assert name == "Opus"
    assert boxes(content[28:]) == [("dOps", OPUS.config)]
    assert timescale_of(initialization) == 48000


def test_timescale_of_sound_is_its_rate() -> None:
    assert timescale_of(cmaf.initialization(sound(frames=50, rate=44100).track)) == 44100


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_decodes_to_silence(channels: int) -> None:
    asc = aac.AudioConfig(2, 48000, channels).serialize()
    frame = cmaf.silence(aac.track(AUDIO, asc))
    decoder = av.CodecContext.create("aac", "r")
    decoder.extradata = asc

    assert frame is not None
    decoded = [shown for _ in range(4) for shown in decoder.decode(av.Packet(frame))]

    assert [len(shown.layout.channels) for shown in decoded] == [channels] * len(decoded)
    assert sum(shown.samples for shown in decoded) >= 3 * 1024
    assert all(not shown.to_ndarray().any() for shown in decoded)


def test_no_silence_for_what_we_cannot_write() -> None:
    asc = aac.AudioConfig(2, 48000, 6).serialize()

    assert cmaf.silence(aac.track(AUDIO, asc)) is None
    assert cmaf.silence(OPUS) is None


def test_broken_sound_configuration_is_refused() -> None:
    with pytest.raises(InvalidBitstream):
        cmaf.initialization(Track(AUDIO, Codec.AAC, b"", sample_rate=48000, channels=2))
