from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from media.codecs.aac import AudioConfig, adts_header
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.packets import CLOCK_WRAP, PACKET_SIZE
from media.mpegts.tables import (
    TYPE_AAC_ADTS,
    TYPE_H264,
    TYPE_HEVC,
    TYPE_MPEG1_AUDIO,
    TYPE_PRIVATE,
    Descriptor,
    Entry,
)
from media.stream import AUDIO, VIDEO
from media.units import AccessUnit, Track
from tests.support.bitstreams import (
    AVC_AUD,
    HEVC_AUD,
    HEVC_VPS,
    AvcSequence,
    HevcSequence,
    aac_track,
    annexb,
    avc_pps,
    avc_slice,
    avc_track,
    hevc_pps,
    hevc_slice,
    hevc_track,
    payload,
)
from tests.support.mpegts import (
    AUDIO_PID,
    H264_AND_AAC,
    VIDEO_PID,
    Sender,
    packets,
    tracks_of,
    units_of,
)

KEY = annexb([AVC_AUD, AvcSequence().nal(), avc_pps(), avc_slice(idr=True, size=400)])
FRAME = 3000


def inter(seed: int, size: int = 400) -> bytes:
    return annexb([AVC_AUD, avc_slice(seed=seed, size=size)])


def sound(seed: int) -> bytes:
    raw = bytes((seed,)) * 60
    return adts_header(AudioConfig(2, 48000, 2), len(raw)) + raw


def key_unit(at: int) -> AccessUnit:
    return AccessUnit(VIDEO, at, at, True, payload(avc_slice(idr=True, size=400)))


def inter_unit(at: int, seed: int) -> AccessUnit:
    return AccessUnit(VIDEO, at, at, False, payload(avc_slice(seed=seed, size=400)))


def sound_unit(at: int, seed: int) -> AccessUnit:
    return AccessUnit(AUDIO, at, at, True, bytes((seed,)) * 60)


def demux(*pieces: bytes) -> tuple[list[Track | AccessUnit], TsDemuxer]:
    demuxer = TsDemuxer()
    items = [item for piece in pieces for item in demuxer.feed(piece)]
    return items + demuxer.flush(), demuxer


def short_programme() -> bytes:
    sender = Sender()
    return b"".join(
        [
            sender.tables(),
            sender.video(0, KEY),
            sender.audio(100, sound(1)),
            sender.video(FRAME, inter(1)),
            sender.audio(2020, sound(2)),
            sender.tables(),
            sender.video(2 * FRAME, inter(2)),
        ]
    )


SHORT = short_programme()
SHORT_ITEMS = [
    aac_track(),
    sound_unit(100, 1),
    avc_track(),
    key_unit(0),
    sound_unit(2020, 2),
    inter_unit(FRAME, 1),
    inter_unit(2 * FRAME, 2),
]


def test_tracks_and_units_of_a_programme() -> None:
    items, demuxer = demux(SHORT)

    assert items == SHORT_ITEMS
    assert demuxer.tracks == {VIDEO, AUDIO}
    assert demuxer.continuity_errors == demuxer.damaged_units == demuxer.resyncs == 0
    assert demuxer.unsupported == ()


@given(st.lists(st.integers(0, len(SHORT)), max_size=8))
def test_pieces_of_any_size_give_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SHORT)]
    pieces = [SHORT[a:b] for a, b in pairwise(edges)]

    assert demux(*pieces)[0] == SHORT_ITEMS


def test_sound_is_given_without_waiting_for_the_next() -> None:
    sender = Sender()
    demuxer = TsDemuxer()
    demuxer.feed(sender.tables() + sender.audio(0, sound(1)))

    assert units_of(demuxer.feed(sender.audio(1920, sound(2)))) == [sound_unit(1920, 2)]


@pytest.mark.parametrize("junk", [b"\x00", b"\x00GGG", b"\x01G" + bytes(187), b"junkG" * 70])
def test_finds_the_packets_again_behind_junk(junk: bytes) -> None:
    sender = Sender()
    stream = sender.tables() + b"".join(sender.audio(n * 1920, sound(n)) for n in range(9))
    cut = 4 * PACKET_SIZE

    items, demuxer = demux(junk + stream[:cut] + junk + stream[cut:])

    assert [unit.payload[0] for unit in units_of(items)] == list(range(9))
    assert demuxer.continuity_errors == 0
    assert demuxer.resyncs >= 1


@pytest.mark.parametrize(("before", "after"), [(b"\x01\x02\x03\x04", b""), (b"", bytes(16))])
def test_packets_with_a_time_code_or_parity(before: bytes, after: bytes) -> None:
    stream = b"".join(before + packet + after for packet in packets(SHORT))

    assert demux(stream)[0] == SHORT_ITEMS


def test_a_lost_packet_costs_its_unit_and_no_other() -> None:
    sender = Sender()
    start = sender.tables() + sender.video(0, KEY)
    damaged = list(packets(sender.video(FRAME, inter(1))))
    rest = sender.video(2 * FRAME, inter(2)) + sender.video(3 * FRAME, inter(3))

    items, demuxer = demux(start + damaged[0] + b"".join(damaged[2:]) + rest)

    assert units_of(items) == [key_unit(0), inter_unit(2 * FRAME, 2), inter_unit(3 * FRAME, 3)]
    assert (demuxer.continuity_errors, demuxer.damaged_units) == (1, 1)


def test_a_packet_lost_at_a_beginning_costs_both_units() -> None:
    """Where one ends cannot be known without the beginning of the next."""
    sender = Sender()
    start = sender.tables() + sender.video(0, KEY) + sender.video(FRAME, inter(1))
    damaged = list(packets(sender.video(2 * FRAME, inter(2))))

    items, demuxer = demux(start + b"".join(damaged[1:]) + sender.video(3 * FRAME, inter(3)))

    assert units_of(items) == [key_unit(0), inter_unit(3 * FRAME, 3)]
    assert demuxer.continuity_errors == 1


def test_repeated_packets_change_nothing() -> None:
    doubled = b"".join(packet + packet for packet in packets(SHORT))

    items, demuxer = demux(doubled)

    assert items == SHORT_ITEMS
    assert demuxer.continuity_errors == 0


def test_scrambled_packets_are_dropped_and_counted() -> None:
    stream = bytearray(SHORT)
    for at in range(0, len(stream), PACKET_SIZE):
        if (stream[at + 1] & 0x1F) << 8 | stream[at + 2] == AUDIO_PID:
            stream[at + 3] |= 0x80

    items, demuxer = demux(bytes(stream))

    assert [unit.track for unit in units_of(items)] == [VIDEO] * 3
    assert demuxer.scrambled_packets == 2


def test_times_go_on_past_33_bits_for_both_tracks() -> None:
    sender = Sender()
    start = CLOCK_WRAP - FRAME
    stream = sender.tables() + sender.video(start, KEY)
    stream += sender.audio(start + 10, sound(1))
    stream += sender.video(start + 3 * FRAME, inter(1), dts=start + FRAME)
    stream += sender.audio(start + FRAME + 10, sound(2))

    units = units_of(demux(stream)[0])

    assert [(u.track, u.pts - start, u.dts - start) for u in units] == [
        (AUDIO, 10, 10),
        (VIDEO, 0, 0),
        (AUDIO, FRAME + 10, FRAME + 10),
        (VIDEO, 3 * FRAME, FRAME),
    ]


def test_a_table_with_a_wrong_crc_is_not_used() -> None:
    sender = Sender()
    tables = bytearray(sender.tables())
    tables[PACKET_SIZE * 2 - 1] ^= 1

    items, demuxer = demux(bytes(tables) + sender.video(0, KEY))

    assert items == []
    assert demuxer.broken_tables == 1
    assert demuxer.tracks == frozenset()


def test_tracks_may_change_in_mid_stream() -> None:
    """A new version of the map: other video, no sound; what was under way is given first."""
    sender = Sender()
    new_video = 0x44
    hevc_key = annexb([HEVC_AUD, HEVC_VPS, HevcSequence().nal(), hevc_pps(), hevc_slice(19)])
    demuxer = TsDemuxer()

    before = demuxer.feed(sender.tables() + sender.video(0, KEY) + sender.audio(0, sound(1)))
    change = demuxer.feed(sender.tables([Entry(TYPE_HEVC, new_video)], version=1))
    after = demuxer.feed(
        sender.audio(1920, sound(2))
        + sender.video(FRAME, inter(1))
        + sender.video(FRAME, hevc_key, pid=new_video)
    )
    after += demuxer.flush()

    assert units_of(before) == [sound_unit(0, 1)]
    assert change == [avc_track(), key_unit(0)]
    assert demuxer.tracks == {VIDEO}
    assert after == [
        hevc_track(),
        AccessUnit(VIDEO, FRAME, FRAME, True, payload(hevc_slice(19))),
    ]


def test_what_stays_in_a_new_map_goes_on_undisturbed() -> None:
    sender = Sender()
    stream = sender.tables([H264_AND_AAC[0]])
    first, *others = packets(sender.video(0, KEY))
    stream += first + sender.tables(version=1) + b"".join(others)
    stream += sender.audio(50, sound(1)) + sender.video(FRAME, inter(1))

    items, demuxer = demux(stream)

    assert units_of(items) == [sound_unit(50, 1), key_unit(0), inter_unit(FRAME, 1)]
    assert demuxer.damaged_units == 0


def test_another_programme_may_take_over() -> None:
    sender = Sender()
    stream = sender.tables() + sender.video(0, KEY)
    stream += sender.tables([Entry(TYPE_H264, 0x55)], pmt_pid=0x21, programme=2)
    stream += sender.video(FRAME, inter(9)) + sender.video(2 * FRAME, KEY, pid=0x55)

    assert units_of(demux(stream)[0]) == [key_unit(0), key_unit(2 * FRAME)]


def test_what_we_leave_out_is_named() -> None:
    entries = [
        Entry(TYPE_H264, VIDEO_PID),
        Entry(TYPE_MPEG1_AUDIO, 0x50),
        Entry(TYPE_H264, 0x51),
        Entry(TYPE_PRIVATE, 0x52, (Descriptor(0x05, b"AV01"),)),
        Entry(TYPE_PRIVATE, 0x53, (Descriptor(0x05, b"KLVA"),)),
        Entry(0x86, 0x54),
        Entry(0x15, 0x55),
    ]

    _, demuxer = demux(Sender().tables(entries))

    assert demuxer.unsupported == (
        "MPEG-1 audio (MP2 or MP3)",
        "a further video track (h264)",
        "AV1 video",
    )
    assert demuxer.tracks == {VIDEO}


def test_the_first_of_several_audio_tracks_is_used() -> None:
    entries = [*H264_AND_AAC, Entry(TYPE_AAC_ADTS, 0x40)]
    sender = Sender()

    items, demuxer = demux(
        sender.tables(entries) + sender.audio(0, sound(1)) + sender.audio(0, sound(2), pid=0x40)
    )

    assert units_of(items) == [sound_unit(0, 1)]
    assert demuxer.unsupported == ("a further audio track (aac)",)


def test_identifiers_that_are_taken_are_not_used() -> None:
    for pid in (0, 0x20, 0x1FFF):
        _, demuxer = demux(Sender().tables([Entry(TYPE_H264, pid)]))
        assert demuxer.tracks == frozenset()


def test_another_size_in_mid_stream_announces_the_track_again() -> None:
    sender = Sender()
    small = AvcSequence(width=640, height=360)
    changed = annexb([AVC_AUD, small.nal(), avc_pps(), avc_slice(idr=True, size=400)])

    items, _ = demux(sender.tables() + sender.video(0, KEY) + sender.video(FRAME, changed))

    assert items == [avc_track(), key_unit(0), avc_track(small), key_unit(FRAME)]


def mutate(stream: bytes, changes: list[tuple[int, int]]) -> bytes:
    data = bytearray(stream)
    for at, value in changes:
        data[at % len(data)] = value
    return bytes(data)


@given(st.lists(st.tuples(st.integers(0, len(SHORT) - 1), st.integers(0, 255)), max_size=30))
def test_mutated_streams_raise_nothing(changes: list[tuple[int, int]]) -> None:
    items, demuxer = demux(mutate(SHORT, changes), SHORT)

    assert len(units_of(items)) <= 20
    assert len(demuxer.unsupported) <= 20


@given(st.lists(st.binary(max_size=600), max_size=6))
def test_random_bytes_raise_nothing_and_give_nothing(pieces: list[bytes]) -> None:
    items, _ = demux(*pieces)

    assert items == []


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0x20, VIDEO_PID, AUDIO_PID]), st.binary(max_size=184)),
        max_size=40,
    )
)
def test_random_packets_of_known_identifiers_raise_nothing(
    random: list[tuple[int, bytes]],
) -> None:
    stream = SHORT
    for at, (pid, data) in enumerate(random):
        head = bytes((0x47, 0x40 * (at % 2) | pid >> 8, pid & 0xFF, 0x10 | at % 16))
        stream += head + data.ljust(184, b"\xff")

    items, _ = demux(stream)

    assert items[:5] == SHORT_ITEMS[:5]


def test_tracks_are_those_of_the_first_programme() -> None:
    sender = Sender()
    stream = sender.tables(programme=3) + sender.video(0, KEY)

    assert tracks_of(demux(stream)[0]) == [avc_track()]
