from hypothesis import given, strategies as st

from media.codecs.aac import AudioConfig, adts_header
from media.codecs.opus import OpusConfig
from media.mpegts.opus_units import control_header
from media.mpegts.sound import OpusReader, adts_reader
from media.mpegts.times import Unwrapper
from media.stream import AUDIO
from media.units import AccessUnit, Track
from tests.support.bitstreams import aac_track, opus_packet, opus_track
from tests.support.mpegts import tracks_of, units_of

LC = AudioConfig(2, 44100, 2)


def adts(raw: bytes, config: AudioConfig = LC) -> bytes:
    return adts_header(config, len(raw)) + raw


def frame_time(index: int) -> int:
    return round(index * 1024 * 90_000 / 44_100)


def test_frames_in_one_packet_follow_by_their_samples() -> None:
    items: list[Track | AccessUnit] = []
    reader = adts_reader(AUDIO, Unwrapper(), items.append)
    raws = [bytes((index,)) * 50 for index in range(8)]

    reader.pes(1000, 1000, b"".join(adts(raw) for raw in raws[:5]))
    reader.pes(None, None, b"".join(adts(raw) for raw in raws[5:]))

    assert items[0] == aac_track(44100)
    assert units_of(items) == [
        AccessUnit(AUDIO, 1000 + frame_time(n), 1000 + frame_time(n), True, raw)
        for n, raw in enumerate(raws)
    ]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=10))
def test_frames_that_go_on_in_the_next_packet_have_the_time_of_their_beginning(
    cuts: list[int],
) -> None:
    raws = [bytes((index,)) * (20 + 30 * index) for index in range(8)]
    begins, stream = [], b""
    for raw in raws:
        begins.append(len(stream))
        stream += adts(raw)
    items: list[Track | AccessUnit] = []
    reader = adts_reader(AUDIO, Unwrapper(), items.append)

    at = index = 0
    while at < len(stream):
        size = cuts[index % len(cuts)]
        index += 1
        inside = [n for n, begin in enumerate(begins) if at <= begin < at + size]
        pts = 5000 + frame_time(inside[0]) if inside else None
        reader.pes(pts, pts, stream[at : at + size])
        at += size

    units = units_of(items)
    assert [unit.payload for unit in units] == raws
    assert all(abs(unit.pts - 5000 - frame_time(n)) <= 1 for n, unit in enumerate(units))


def test_another_rate_is_another_track() -> None:
    items: list[Track | AccessUnit] = []
    reader = adts_reader(AUDIO, Unwrapper(), items.append)

    reader.pes(0, 0, adts(b"one") + adts(b"two", AudioConfig(2, 48000, 1)))
    reader.pes(None, None, adts(b"three", AudioConfig(2, 48000, 1)))

    assert tracks_of(items) == [aac_track(44100), aac_track(48000, 1)]
    assert [unit.pts for unit in units_of(items)] == [0, 2090, 2090 + 1920]


def test_after_a_loss_an_unfinished_frame_is_forgotten() -> None:
    items: list[Track | AccessUnit] = []
    reader = adts_reader(AUDIO, Unwrapper(), items.append)

    reader.pes(0, 0, adts(b"one") + adts(b"damaged")[:9])
    reader.lost()
    reader.pes(9000, 9000, adts(b"two"))

    assert [(unit.pts, unit.payload) for unit in units_of(items)] == [(0, b"one"), (9000, b"two")]


def test_without_any_time_there_is_no_unit() -> None:
    items: list[Track | AccessUnit] = []

    adts_reader(AUDIO, Unwrapper(), items.append).pes(None, None, adts(b"one"))

    assert units_of(items) == []


def test_opus_packets_follow_by_their_samples() -> None:
    items: list[Track | AccessUnit] = []
    reader = OpusReader(AUDIO, Unwrapper(), items.append, OpusConfig(2, 0))
    packets = [opus_packet(80, index) for index in range(3)]

    reader.pes(90, 90, b"".join(control_header(80) + packet for packet in packets))

    assert tracks_of(items)[0].channels == opus_track(2).channels
    assert units_of(items) == [
        AccessUnit(AUDIO, 90 + 1800 * n, 90 + 1800 * n, True, packet)
        for n, packet in enumerate(packets)
    ]


def test_broken_opus_costs_its_packet_only() -> None:
    items: list[Track | AccessUnit] = []
    reader = OpusReader(AUDIO, Unwrapper(), items.append, OpusConfig(2, 0))

    reader.pes(0, 0, b"no control header")
    reader.pes(0, 0, control_header(2) + b"\xff\x00")
    reader.pes(900, 900, control_header(80) + opus_packet(80))

    assert [unit.pts for unit in units_of(items)] == [900]
    assert reader.damaged == 2
