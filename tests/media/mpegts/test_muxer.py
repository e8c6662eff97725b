from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from media.codecs import av1, opus
from media.codecs.aac import AudioConfig
from media.errors import InvalidBitstream, UnsupportedCodec
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.muxer import PCR_LEAD, PID_PMT, TsMuxer
from media.mpegts.packets import PACKET_SIZE
from media.stream import AUDIO, VIDEO
from media.units import AccessUnit, Codec, Track, TrackId
from tests.support.bitstreams import (
    AvcSequence,
    HevcSequence,
    aac_track,
    av1_sequence,
    avc_slice,
    avc_track,
    hevc_slice,
    hevc_track,
    opus_packet,
    opus_track,
    payload,
)
from tests.support.mpegts import packets, tracks_of, units_of

FRAME = 3000


def key(at: int, size: int = 400) -> AccessUnit:
    return AccessUnit(VIDEO, at, at, True, payload(avc_slice(idr=True, size=size)))


def inter(at: int, size: int = 400) -> AccessUnit:
    return AccessUnit(VIDEO, at, at, False, payload(avc_slice(size=size)))


def sound(at: int) -> AccessUnit:
    return AccessUnit(AUDIO, at, at, True, b"\x21" * 80)


def muxer(*tracks: Track) -> TsMuxer:
    made = TsMuxer()
    for track in tracks:
        made.set_track(track)
    return made


def pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def pcr(packet: bytes) -> int | None:
    """The packet's clock reference in ticks of 90 kHz."""
    if not packet[3] & 0x20 or not packet[4] or not packet[5] & 0x10:
        return None
    return int.from_bytes(packet[6:12], "big") >> 15


def demux(stream: bytes) -> list[Track | AccessUnit]:
    demuxer = TsDemuxer()
    items = demuxer.feed(stream) + demuxer.flush()
    assert demuxer.continuity_errors == 0
    return items


def test_tables_come_first_at_keyframes_and_every_half_second() -> None:
    ts = muxer(avc_track(), aac_track())

    tables = []
    for index in range(60):
        unit = key(0) if index == 0 else inter(index * FRAME)
        if index == 40:
            unit = key(index * FRAME)
        written = list(packets(ts.mux(unit)))
        if pid(written[0]) == 0:
            assert pid(written[1]) == PID_PMT
            tables.append(index)

    assert tables == [0, 15, 30, 40, 55]


def test_every_packet_is_whole() -> None:
    ts = muxer(avc_track(), aac_track())

    stream = ts.mux(key(0)) + ts.mux(sound(10)) + ts.mux(inter(FRAME))

    assert len(stream) % PACKET_SIZE == 0
    assert all(packet[0] == 0x47 for packet in packets(stream))


def test_the_clock_goes_before_the_times_and_comes_often() -> None:
    """At 5 pictures a second it has to come between them, too."""
    ts = muxer(avc_track(), aac_track())
    stream = ts.mux(key(0))
    for index in range(1, 500):
        at = index * 1920
        stream += ts.mux(sound(at))
        if at % 17280 == 0:
            stream += ts.mux(inter(at))

    clock = [value for packet in packets(stream) if (value := pcr(packet)) is not None]

    assert clock[0] == 0
    assert all(0 < later - earlier <= 9000 for earlier, later in pairwise(clock))
    assert [unit.dts for unit in units_of(demux(stream))][:2] == [PCR_LEAD + 1920, PCR_LEAD + 3840]


def test_without_video_the_sound_carries_the_clock() -> None:
    ts = muxer(aac_track())

    stream = b"".join(ts.mux(sound(index * 1920)) for index in range(10))

    assert next(pcr(packet) for packet in packets(stream) if pid(packet) == 0x100) == 0
    assert len(units_of(demux(stream))) == 10


def test_a_keyframe_brings_its_parameter_sets_and_others_do_not() -> None:
    ts = muxer(avc_track())
    sps = AvcSequence().nal()

    assert sps in ts.mux(key(0))
    assert sps not in ts.mux(inter(FRAME))
    assert sps in ts.mux(key(2 * FRAME))


def test_new_parameter_sets_go_before_the_next_picture_of_any_kind() -> None:
    ts = muxer(avc_track())
    small = AvcSequence(width=640, height=360)
    ts.mux(key(0))

    ts.set_track(avc_track(small))

    assert small.nal() in ts.mux(inter(FRAME))


def test_a_new_track_raises_the_version_of_the_map() -> None:
    ts = muxer(avc_track())

    def version(stream: bytes) -> int:
        packet = next(packet for packet in packets(stream) if pid(packet) == PID_PMT)
        return packet[10] >> 1 & 0x1F

    first = version(ts.mux(key(0)))
    ts.set_track(avc_track(AvcSequence(width=640, height=360)))
    same = version(ts.mux(key(FRAME)))
    ts.set_track(aac_track())
    second = version(ts.mux(sound(FRAME)))
    ts.remove_track(AUDIO)
    third = version(ts.mux(inter(2 * FRAME)))

    assert (first, same, second, third) == (0, 0, 1, 2)


def test_a_receiver_follows_a_change_of_tracks() -> None:
    ts = muxer(avc_track(), aac_track())
    stream = ts.mux(key(0)) + ts.mux(sound(0))
    ts.remove_track(AUDIO)
    ts.set_track(opus_track())
    stream += ts.mux(AccessUnit(AUDIO, 1800, 1800, True, opus_packet()))

    items = demux(stream)

    assert [track.codec for track in tracks_of(items)] == [Codec.AAC, Codec.OPUS, Codec.H264]
    assert ts.mux(AccessUnit(TrackId("gone"), 0, 0, True, b"x")) == b""


def test_a_gap_is_announced_with_the_next_clock() -> None:
    ts = muxer(avc_track())
    ts.mux(key(0))

    ts.gap()
    written = list(packets(ts.mux(key(900_000))))

    assert pid(written[0]) == 0
    assert written[2][5] & 0x80
    assert pcr(written[2]) == 900_000


def test_a_long_silence_is_not_filled() -> None:
    ts = muxer(avc_track())
    ts.mux(key(0))

    assert len(ts.mux(inter(90_000_000))) < 10 * PACKET_SIZE


def test_av1_is_refused() -> None:
    track = av1.track(VIDEO, av1.Av1Config(av1.Obu(1, av1_sequence())).serialize())
    ts = TsMuxer()

    with pytest.raises(UnsupportedCodec):
        ts.set_track(track)

    assert ts.tracks == ()


@pytest.mark.parametrize(
    "track",
    [
        Track(VIDEO, Codec.H264, b"broken"),
        Track(VIDEO, Codec.HEVC, b"broken"),
        Track(AUDIO, Codec.AAC, b""),
        Track(AUDIO, Codec.AAC, AudioConfig(23, 48000, 2).serialize()),
        Track(AUDIO, Codec.OPUS, b"\x00"),
        Track(
            AUDIO,
            Codec.OPUS,
            opus.OpusConfig(2, 0, 48000, 0, 255, 2, 0, b"\x01\x00").serialize(),
        ),
    ],
)
def test_broken_tracks_are_refused_and_change_nothing(track: Track) -> None:
    ts = muxer(avc_track(), aac_track())

    with pytest.raises(InvalidBitstream):
        ts.set_track(track)

    assert list(ts.tracks) == [avc_track(), aac_track()]


def test_too_many_tracks_are_refused() -> None:
    ts = TsMuxer()
    for index in range(16):
        ts.set_track(aac_track(track=TrackId(f"audio/{index}")))

    with pytest.raises(UnsupportedCodec):
        ts.set_track(aac_track(track=TrackId("audio/16")))


def test_a_broken_payload_is_refused_and_costs_no_packet() -> None:
    ts = muxer(avc_track(), aac_track())
    stream = ts.mux(key(0))

    with pytest.raises(InvalidBitstream):
        ts.mux(AccessUnit(VIDEO, FRAME, FRAME, False, b"\x00\x00\x09\x00x"))
    with pytest.raises(InvalidBitstream):
        ts.mux(AccessUnit(AUDIO, 0, 0, True, bytes(9000)))

    assert len(units_of(demux(stream + ts.mux(inter(2 * FRAME))))) == 2


def avc_payload(keyframe: bool, sizes: list[int], seed: int) -> bytes:
    return payload(
        *(
            avc_slice(idr=keyframe, first=index == 0, size=size, seed=seed)
            for index, size in enumerate(sizes)
        )
    )


def hevc_payload(keyframe: bool, sizes: list[int], seed: int) -> bytes:
    return payload(
        *(
            hevc_slice(19 if keyframe else 1, first=index == 0, size=size, seed=seed)
            for index, size in enumerate(sizes)
        )
    )


frames = st.lists(
    st.tuples(
        st.booleans(),
        st.lists(st.integers(1, 1000), min_size=1, max_size=3),
        st.integers(0, 4),
        st.integers(0, 240),
    ),
    min_size=1,
    max_size=8,
)
TICK = st.integers(0, (1 << 33) - 1)


@given(frames, st.sampled_from([Codec.H264, Codec.HEVC]), TICK)
def test_video_that_is_written_reads_back(
    pictures: list[tuple[bool, list[int], int, int]], codec: Codec, start: int
) -> None:
    track = avc_track() if codec is Codec.H264 else hevc_track(HevcSequence(width=640))
    make = avc_payload if codec is Codec.H264 else hevc_payload
    units = []
    for index, (keyframe, sizes, reorder, seed) in enumerate(pictures):
        dts = start + index * FRAME
        data = make(keyframe, sizes, seed)
        units.append(AccessUnit(VIDEO, dts + reorder * FRAME, dts, keyframe, data))
    ts = muxer(track)

    items = demux(b"".join(ts.mux(unit) for unit in units))

    shift = (start + PCR_LEAD) % (1 << 33) - start
    assert tracks_of(items) == [track]
    assert units_of(items) == [
        AccessUnit(unit.track, unit.pts + shift, unit.dts + shift, unit.keyframe, unit.payload)
        for unit in units
    ]


@given(
    st.lists(st.binary(min_size=1, max_size=1500), min_size=1, max_size=6),
    st.sampled_from([aac_track(), aac_track(44100, 1), aac_track(7350, 8), aac_track(96000, 6)])
    | st.sampled_from([opus_track(1), opus_track(2)]),
)
def test_sound_that_is_written_reads_back(raws: list[bytes], track: Track) -> None:
    is_opus = track.codec is Codec.OPUS
    units = [
        AccessUnit(AUDIO, index * 1800, index * 1800, True, b"\xfc" + raw if is_opus else raw)
        for index, raw in enumerate(raws)
    ]
    ts = muxer(track)

    items = demux(b"".join(ts.mux(unit) for unit in units))

    (seen,) = tracks_of(items)
    assert (seen.codec, seen.channels, seen.sample_rate) == (
        track.codec,
        track.channels,
        track.sample_rate,
    )
    assert [(unit.pts - PCR_LEAD, unit.payload) for unit in units_of(items)] == [
        (unit.pts, unit.payload) for unit in units
    ]


def test_pictures_beyond_64_kib_read_back() -> None:
    ts = muxer(avc_track())
    large = key(0, size=200_000)

    (unit,) = units_of(demux(ts.mux(large)))

    assert unit.payload == large.payload
