"""Where a picture begins in a NAL unit stream, and the reader that cuts video into pictures."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from media.codecs import h264, hevc
from media.codecs.assembler import VideoAssembler
from media.codecs.nal import MAX_NALS, split_annexb
from media.errors import InvalidBitstream
from media.mpegts.pes import MAX_PES
from media.mpegts.times import Unwrapper
from media.units import CLOCK_RATE, AccessUnit, Codec, Track, TrackId

Emit = Callable[[Track | AccessUnit], None]

_START: Final = b"\x00\x00\x01"
_DEFAULT_DURATION: Final = CLOCK_RATE // 25
_MAX_PIECES: Final = 64
"""PES packets that one picture may be spread over; each means another look at what is held."""

_H264_SLICES: Final = frozenset({1, 2, 5})
_H264_HEADS: Final = frozenset({6, 7, 8, 9, 14, 15, 16, 17, 18})
_HEVC_HEADS: Final = frozenset({32, 33, 34, 35, 39, *range(41, 45), *range(48, 56)})


def role(codec: Codec, nal: bytes) -> tuple[bool, bool]:
    """Whether a NAL unit is a slice, and whether it may only stand where a picture begins
    (H.264 7.4.1.2.3, HEVC 7.4.2.4.4)."""
    if codec is Codec.H264:
        kind = h264.nal_type(nal)
        if kind in _H264_SLICES:
            # first_mb_in_slice is 0
            return True, len(nal) > 1 and nal[1] & 0x80 != 0
        return False, kind in _H264_HEADS
    kind = hevc.nal_type(nal)
    if hevc.is_slice(kind):
        # first_slice_segment_in_pic_flag; further layers belong to the picture before them
        return True, len(nal) > 2 and nal[2] & 0x80 != 0 and not hevc.layer_id(nal)
    return False, kind in _HEVC_HEADS and not hevc.layer_id(nal)


def begins_picture(codec: Codec, data: bytes) -> bool:
    """Whether a piece of a NAL unit stream starts with the start code of a picture's first NAL
    unit; zeros in front of it are fine."""
    at = data.find(_START)
    if at < 0 or data[:at].strip(b"\x00"):
        return False
    return role(codec, data[at + 3 : at + 8])[1]


def group_pictures(codec: Codec, nals: list[bytes]) -> list[list[bytes]]:
    """The NAL units of each picture; each field counts as one, as the standard has it."""
    pictures: list[list[bytes]] = []
    has_slice = True
    for nal in nals:
        is_slice, begins = role(codec, nal)
        if begins and has_slice:
            pictures.append([])
            has_slice = False
        if not pictures:
            # What remains of a picture whose beginning is not there.
            continue
        pictures[-1].append(nal)
        has_slice = has_slice or is_slice
    return pictures


class VideoReader:
    """Cuts the payloads of PES packets into pictures.

    Encoders begin each picture in a PES packet of its own, and then it is complete as soon as
    the next packet begins. Where a packet goes on with what the one before left unfinished (in
    the middle of a NAL unit even), the pieces are joined, and each picture takes the time of the
    packet in which it begins; a second picture in one packet follows after one picture's
    duration. At most `MAX_PES` bytes are held.
    """

    def __init__(self, track: TrackId, codec: Codec, clock: Unwrapper, emit: Emit) -> None:
        self._track = track
        self._codec = codec
        self._clock = clock
        self._emit = emit
        self._assembler = VideoAssembler(track, codec)
        self._held: list[bytes] = []
        self._size = 0
        self._marks: list[tuple[int, int | None, int | None]] = []
        self._last_dts: int | None = None
        self._duration = 0
        self.damaged = 0

    def head(self, payload: bytes) -> None:
        if self._held and begins_picture(self._codec, payload):
            self._flush(final=False)

    def pes(self, pts: int | None, dts: int | None, payload: bytes) -> None:
        if self._held and begins_picture(self._codec, payload[:64]):
            self._flush(final=False)
        if self._size + len(payload) > MAX_PES or len(self._marks) >= _MAX_PIECES:
            self._forget()
            self.damaged += 1
        self._marks.append((self._size, pts, dts))
        self._held.append(payload)
        self._size += len(payload)
        if len(self._marks) > 1:
            self._cut(final=False)

    def lost(self) -> None:
        """What is held may or may not be whole: a packet that had its length was."""
        self._flush(final=True)

    def finish(self) -> None:
        self._flush(final=True)

    def _flush(self, *, final: bool) -> None:
        """Gives the pictures that are held. Unless this is `final`, what is no picture yet (a
        delimiter and parameter sets in a packet of their own) waits for its slices."""
        if not self._marks:
            return
        data = b"".join(self._held)
        pictures = group_pictures(self._codec, self._split(data))
        whole = not pictures or _has_slice(self._codec, pictures[-1])
        if len(self._marks) > 1 or not whole:
            self._cut(final=final or whole)
            return
        _, pts, dts = self._marks[0]
        self._forget()
        for nals in pictures:
            self._picture(pts, dts, nals)
            pts = dts = None

    def _cut(self, *, final: bool) -> None:
        """Gives the pictures that end within what is held, in a stream whose PES packets do not
        begin with pictures; keeps the last one, which may go on, unless this is `final`."""
        data = b"".join(self._held)
        try:
            starts = _picture_starts(self._codec, data)
        except InvalidBitstream:
            self.damaged += 1
            self._forget()
            return
        marks = self._marks
        self._held = [data]
        if final:
            self._forget()
            starts.append(len(data))
        if len(starts) < 2:
            return
        for start, end in pairwise(starts):
            pts, dts = _take_mark(marks, start)
            self._picture(pts, dts, self._split(data[start:end]))
        if final:
            return
        rest = starts[-1]
        mark = _take_mark(marks, rest)
        later = [(at - rest, pts, dts) for at, pts, dts in marks if at > rest]
        self._held = [data[rest:]]
        self._size = len(data) - rest
        self._marks = [(0, *mark), *later]

    def _split(self, data: bytes) -> list[bytes]:
        try:
            return split_annexb(data)
        except InvalidBitstream:
            self.damaged += 1
            return []

    def _forget(self) -> None:
        self._held = []
        self._size = 0
        self._marks = []

    def _picture(self, pts: int | None, dts: int | None, nals: list[bytes]) -> None:
        try:
            assembled = self._assembler.assemble(nals)
        except InvalidBitstream:
            self.damaged += 1
            return
        times = self._times(pts, dts)
        if assembled is None or times is None:
            return
        if assembled.track is not None:
            self._emit(assembled.track)
            rate = assembled.track.frame_rate
            self._duration = round(CLOCK_RATE / rate) if rate else self._duration
        self._emit(AccessUnit(self._track, *times, assembled.keyframe, assembled.payload))

    def _times(self, pts: int | None, dts: int | None) -> tuple[int, int] | None:
        """The picture's times; one without times of its own follows the one before. None as
        long as there has been no time at all."""
        if pts is not None and dts is not None:
            pts, dts = self._clock.unwrap(pts, dts)
        elif self._last_dts is not None:
            pts = dts = self._last_dts + (self._duration or _DEFAULT_DURATION)
        else:
            return None
        self._last_dts = dts
        return pts, dts


def _has_slice(codec: Codec, nals: list[bytes]) -> bool:
    return any(role(codec, nal)[0] for nal in reversed(nals))


def _picture_starts(codec: Codec, data: bytes) -> list[int]:
    """Where pictures begin, by their first NAL unit's start code; raises InvalidBitstream for
    more NAL units than there can be."""
    starts: list[int] = []
    has_slice = True
    count = 0
    at = data.find(_START)
    while at >= 0:
        count += 1
        if count > MAX_NALS:
            raise InvalidBitstream("too many NAL units")
        is_slice, begins = role(codec, data[at + 3 : at + 8])
        if begins and has_slice:
            starts.append(at)
            has_slice = False
        has_slice = has_slice or is_slice
        at = data.find(_START, at + 3)
    return starts


def _take_mark(
    marks: list[tuple[int, int | None, int | None]], start: int
) -> tuple[int | None, int | None]:
    """The time of the packet in which a picture begins, for the first that begins there."""
    for index in range(len(marks) - 1, -1, -1):
        at, pts, dts = marks[index]
        if at <= start:
            marks[index] = (at, None, None)
            return pts, dts
    return None, None
