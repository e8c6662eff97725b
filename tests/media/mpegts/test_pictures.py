from hypothesis import given, strategies as st

from media.mpegts.pes import MAX_PES
from media.mpegts.pictures import VideoReader, begins_picture, group_pictures
from media.mpegts.times import Unwrapper
from media.stream import VIDEO
from media.units import AccessUnit, Codec, Track
from tests.support.bitstreams import (
    AVC_AUD,
    HEVC_AUD,
    HEVC_VPS,
    AvcSequence,
    HevcSequence,
    annexb,
    avc_pps,
    avc_slice,
    hevc_pps,
    hevc_slice,
    payload,
)
from tests.support.mpegts import tracks_of, units_of

SPS, PPS = AvcSequence(fps=(25, 1)).nal(), avc_pps()
IDR = [AVC_AUD, SPS, PPS, avc_slice(idr=True)]
FRAME = 3600


def inter(seed: int) -> list[bytes]:
    return [AVC_AUD, avc_slice(seed=seed)]


class Reading:
    """A `VideoReader` and what it gave."""

    def __init__(self, codec: Codec = Codec.H264) -> None:
        self.items: list[Track | AccessUnit] = []
        self.reader = VideoReader(VIDEO, codec, Unwrapper(), self.items.append)

    def pes(self, pts: int | None, data: bytes) -> None:
        self.reader.head(data)
        self.reader.pes(pts, pts, data)

    @property
    def times(self) -> list[tuple[int, int]]:
        return [(unit.pts, unit.dts) for unit in units_of(self.items)]

    @property
    def payloads(self) -> list[bytes]:
        return [unit.payload for unit in units_of(self.items)]


def test_a_picture_is_given_as_soon_as_the_next_packet_begins() -> None:
    reading = Reading()

    reading.pes(0, annexb(IDR))
    assert units_of(reading.items) == []
    reading.reader.head(annexb([AVC_AUD]))

    assert units_of(reading.items) == [AccessUnit(VIDEO, 0, 0, True, payload(avc_slice(idr=True)))]
    assert [track.width for track in tracks_of(reading.items)] == [1280]


def test_pictures_need_no_delimiters() -> None:
    reading = Reading()

    for index in range(3):
        reading.pes(index * FRAME, annexb([SPS, PPS, avc_slice(idr=True, seed=index)]))
    reading.pes(3 * FRAME, annexb([avc_slice(seed=3)], b"\x00\x00\x01"))
    reading.reader.finish()

    assert reading.times == [(index * FRAME, index * FRAME) for index in range(4)]


def test_slices_in_packets_of_their_own_are_one_picture() -> None:
    reading = Reading()
    second = avc_slice(idr=True, first=False, seed=9)

    reading.pes(0, annexb(IDR))
    reading.pes(0, annexb([second]))
    reading.pes(FRAME, annexb(inter(1)))

    assert reading.payloads == [payload(avc_slice(idr=True), second)]


def test_two_pictures_in_one_packet_follow_each_other() -> None:
    reading = Reading()

    reading.pes(1000, annexb(IDR + inter(1) + inter(2)))
    reading.pes(1000 + 3 * FRAME, annexb(inter(3)))

    assert reading.times == [(at, at) for at in (1000, 1000 + FRAME, 1000 + 2 * FRAME)]


def test_a_packet_without_times_follows_the_one_before() -> None:
    reading = Reading()

    reading.pes(1000, annexb(IDR))
    reading.pes(None, annexb(inter(1)))
    reading.reader.finish()

    assert reading.times == [(1000, 1000), (1000 + FRAME, 1000 + FRAME)]


def test_without_any_time_there_is_no_unit() -> None:
    reading = Reading()

    reading.pes(None, annexb(IDR))
    reading.reader.finish()

    assert units_of(reading.items) == []


@given(st.lists(st.integers(6, 400), min_size=1, max_size=12), st.integers(1, 6))
def test_packets_that_split_nal_units_give_the_same_pictures(cuts: list[int], count: int) -> None:
    """Each packet's time is that of the first picture that begins in it."""
    pictures = [IDR, *(inter(index) for index in range(count))]
    begins, stream = [], b""
    for nals in pictures:
        begins.append(len(stream))
        stream += annexb(nals)
    reading = Reading()

    at = index = 0
    while at < len(stream):
        size = cuts[index % len(cuts)]
        index += 1
        inside = [n for n, begin in enumerate(begins) if at <= begin + 1 < at + size]
        reading.pes(inside[0] * FRAME if inside else None, stream[at : at + size])
        at += size
    reading.reader.finish()

    assert reading.payloads == [
        payload(*(nal for nal in nals if nal[0] & 0x1F in (1, 5))) for nals in pictures
    ]
    assert reading.times == [(n * FRAME, n * FRAME) for n in range(count + 1)]


def test_what_remains_of_a_picture_without_its_beginning_is_dropped() -> None:
    reading = Reading()

    reading.pes(0, b"middle of something" + annexb([avc_slice(first=False)]) + annexb(IDR))
    reading.reader.finish()

    assert reading.payloads == [payload(avc_slice(idr=True))]


def test_broken_parameter_sets_cost_their_picture_only() -> None:
    reading = Reading()

    reading.pes(0, annexb([AVC_AUD, SPS[:5], PPS, avc_slice(idr=True)]))
    reading.pes(FRAME, annexb(IDR))
    reading.reader.finish()

    assert reading.times == [(FRAME, FRAME)]
    assert reading.reader.damaged == 1


def test_a_picture_over_too_many_packets_is_dropped() -> None:
    reading = Reading()

    reading.pes(0, annexb(IDR))
    for _ in range(70):
        reading.pes(None, b"goes on and on")
    reading.pes(FRAME, annexb(IDR))
    reading.reader.finish()

    assert reading.times == [(FRAME, FRAME)]
    assert reading.reader.damaged == 1


def test_a_picture_that_grows_too_large_is_dropped() -> None:
    reading = Reading()

    reading.pes(0, annexb(IDR) + bytes([4]) * (MAX_PES // 2))
    reading.pes(None, bytes([4]) * (MAX_PES // 2))
    reading.pes(FRAME, annexb(IDR))
    reading.reader.finish()

    assert reading.times == [(FRAME, FRAME)]


def test_too_many_nal_units_are_dropped() -> None:
    reading = Reading()

    reading.pes(0, annexb([avc_slice(idr=True, size=1)] * 5000))
    reading.pes(FRAME, annexb(IDR))
    reading.reader.finish()

    assert reading.times == [(FRAME, FRAME)]
    assert reading.reader.damaged == 1


def test_too_many_nal_units_over_several_packets_are_dropped() -> None:
    reading = Reading()

    for _ in range(3):
        reading.pes(None, annexb([avc_slice(first=False, size=1)] * 3000))
    reading.pes(FRAME, annexb(IDR))
    reading.reader.finish()

    assert reading.times == [(FRAME, FRAME)]
    assert reading.reader.damaged >= 1


def test_hevc_pictures() -> None:
    reading = Reading(Codec.HEVC)
    sets = [HEVC_VPS, HevcSequence().nal(), hevc_pps()]
    slices = [hevc_slice(19), hevc_slice(19, first=False)]

    reading.pes(0, annexb([HEVC_AUD, *sets, *slices, hevc_slice(1), hevc_slice(1, seed=1)]))
    reading.reader.finish()

    assert reading.payloads == [
        payload(*slices),
        payload(hevc_slice(1)),
        payload(hevc_slice(1, seed=1)),
    ]
    assert reading.times == [(n * 3000, n * 3000) for n in range(3)]


def test_beginnings() -> None:
    assert begins_picture(Codec.H264, b"\x00\x00\x00\x00\x01\x09\xf0")
    assert begins_picture(Codec.H264, b"\x00\x00\x01" + avc_slice())
    assert not begins_picture(Codec.H264, b"\x00\x00\x01" + avc_slice(first=False))
    assert not begins_picture(Codec.H264, b"\x05\x00\x00\x01\x09\xf0")
    assert not begins_picture(Codec.H264, b"")
    assert begins_picture(Codec.HEVC, b"\x00\x00\x01" + HEVC_AUD)
    assert not begins_picture(Codec.HEVC, b"\x00\x00\x01\x50\x01\x84")


@given(st.sampled_from([Codec.H264, Codec.HEVC]), st.lists(st.binary(min_size=1, max_size=5)))
def test_grouping_keeps_the_order(codec: Codec, nals: list[bytes]) -> None:
    grouped = [nal for picture in group_pictures(codec, nals) for nal in picture]

    assert grouped == nals[len(nals) - len(grouped) :]
