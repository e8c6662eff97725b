"""Bodies of audio and video messages: FLV tags (Adobe, 10.1), Enhanced RTMP v1 and v2 (Veovera).

Only the outer syntax: which codec, what kind of packet, which time. Codec numbers of old become the
FourCCs that Enhanced RTMP knows them by, so that there is one way from here on. What we do not know
(packet types, ModEx types, commands) makes no tag and breaks nothing; a body that ends within its
header raises `InvalidBitstream`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from media.errors import InvalidBitstream

_AVC: Final = "avc1"
_HEVC: Final = "hvc1"
_AAC: Final = "mp4a"

LEGACY_VIDEO: Final = {7: _AVC, 12: _HEVC}
"""12 is in no specification, but encoders in China have sent HEVC by that number for years."""

LEGACY_AUDIO: Final = {10: _AAC}

MAX_TRACKS: Final = 256
"""Tracks in one message: their number is one byte."""

_COMPOSITION: Final = frozenset({_AVC, _HEVC, "vvc1"})
"""Codecs whose coded frames carry a composition time offset."""

_FRAME_COMMAND: Final = 5
_AUDIO_EX: Final = 9


class Packet(Enum):
    CONFIG = auto()
    FRAME = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Tag:
    """One packet of one track. `composition` is pts minus dts in milliseconds; `nanoseconds` is to
    be added to the time of the message."""

    fourcc: str
    packet: Packet
    data: bytes
    keyframe: bool = True
    composition: int = 0
    nanoseconds: int = 0
    track: int = 0


# What the four bits of an extended header say (ExVideoTagHeader, ExAudioTagHeader).
_V_START, _V_FRAMES, _V_END, _V_FRAMES_X, _V_MULTITRACK = 0, 1, 2, 3, 6
_A_START, _A_FRAMES, _A_END, _A_MULTITRACK = 0, 1, 2, 5
_MOD_EX: Final = 7
_MOD_EX_NANO: Final = 0

_VIDEO_PACKETS: Final = {
    _V_START: Packet.CONFIG,
    _V_FRAMES: Packet.FRAME,
    _V_END: Packet.END,
    _V_FRAMES_X: Packet.FRAME,
}
_AUDIO_PACKETS: Final = {
    _A_START: Packet.CONFIG,
    _A_FRAMES: Packet.FRAME,
    _A_END: Packet.END,
}
_ONE_TRACK, _MANY_TRACKS, _MANY_CODECS = 0, 1, 2


def parse_video(body: bytes) -> list[Tag]:
    """The tags of a video message: one, or one for each track, or none that we know."""
    if not body:
        return []
    first = body[0]
    frame_type = first >> 4 & 7
    keyframe = frame_type == 1
    if first & 0x80:
        kind, nanoseconds, at = _mod_ex(body, first & 0x0F)
        if frame_type == _FRAME_COMMAND:
            return []
        return list(_video_tags(body, at, kind, keyframe=keyframe, nanoseconds=nanoseconds))
    if frame_type == _FRAME_COMMAND:
        return []
    fourcc = LEGACY_VIDEO.get(first & 0x0F)
    if fourcc is None:
        return [Tag(f"FLV video codec {first & 0x0F}", Packet.FRAME, b"", keyframe)]
    _need(body, 5)
    packet = (Packet.CONFIG, Packet.FRAME, Packet.END)[body[1]] if body[1] < 3 else None
    if packet is None:
        return []
    composition = _signed24(body, 2) if packet is Packet.FRAME else 0
    return [Tag(fourcc, packet, body[5:], keyframe, composition)]


def parse_audio(body: bytes) -> list[Tag]:
    """The tags of an audio message; an empty one means silence and makes none."""
    if not body:
        return []
    codec = body[0] >> 4
    if codec == _AUDIO_EX:
        kind, nanoseconds, at = _mod_ex(body, body[0] & 0x0F)
        return list(_audio_tags(body, at, kind, nanoseconds=nanoseconds))
    fourcc = LEGACY_AUDIO.get(codec)
    if fourcc is None:
        return [Tag(f"FLV audio codec {codec}", Packet.FRAME, b"")]
    _need(body, 2)
    if body[1] > 1:
        return []
    return [Tag(fourcc, Packet.FRAME if body[1] else Packet.CONFIG, body[2:])]


def _mod_ex(body: bytes, kind: int) -> tuple[int, int, int]:
    """Goes through the ModEx packets before the real one; gives its type, nanoseconds, place."""
    at = 1
    nanoseconds = 0
    while kind == _MOD_EX:
        _need(body, at + 1)
        size = body[at] + 1
        at += 1
        if size == 256:
            _need(body, at + 2)
            size = int.from_bytes(body[at : at + 2], "big") + 1
            at += 2
        _need(body, at + size + 1)
        mod_ex_type = body[at + size] >> 4
        kind = body[at + size] & 0x0F
        if mod_ex_type == _MOD_EX_NANO and size >= 3:
            nanoseconds = min(int.from_bytes(body[at : at + 3], "big"), 999_999)
        at += size + 1
    return kind, nanoseconds, at


def _video_tags(
    body: bytes, at: int, kind: int, *, keyframe: bool, nanoseconds: int
) -> Iterator[Tag]:
    for kind_of_track, fourcc, track, data in _tracks(body, at, kind, _V_MULTITRACK):
        packet = _VIDEO_PACKETS.get(kind_of_track)
        if packet is None:
            continue  # metadata such as colorInfo, MPEG-2 TS descriptors, what is yet to come
        composition = 0
        payload = data
        if kind_of_track == _V_FRAMES and fourcc in _COMPOSITION:
            _need(data, 3)
            composition = _signed24(data, 0)
            payload = data[3:]
        yield Tag(fourcc, packet, payload, keyframe, composition, nanoseconds, track)


def _audio_tags(body: bytes, at: int, kind: int, *, nanoseconds: int) -> Iterator[Tag]:
    for kind_of_track, fourcc, track, data in _tracks(body, at, kind, _A_MULTITRACK):
        packet = _AUDIO_PACKETS.get(kind_of_track)
        if packet is not None:
            yield Tag(fourcc, packet, data, nanoseconds=nanoseconds, track=track)


def _tracks(
    body: bytes, at: int, kind: int, multitrack: int
) -> Iterator[tuple[int, str, int, bytes]]:
    """Packet type, FourCC, number and data of every track in the message."""
    if kind != multitrack:
        _need(body, at + 4)
        yield kind, _fourcc(body, at), 0, body[at + 4 :]
        return
    _need(body, at + 1)
    mode = body[at] >> 4
    kind = body[at] & 0x0F
    at += 1
    if kind == multitrack or mode > _MANY_CODECS:
        return
    fourcc = ""
    if mode != _MANY_CODECS:
        _need(body, at + 4)
        fourcc = _fourcc(body, at)
        at += 4
    for _ in range(MAX_TRACKS):
        if at >= len(body):
            return
        if mode == _MANY_CODECS:
            _need(body, at + 4)
            fourcc = _fourcc(body, at)
            at += 4
        _need(body, at + 1)
        track = body[at]
        at += 1
        size = len(body) - at
        if mode != _ONE_TRACK:
            _need(body, at + 3)
            size = int.from_bytes(body[at : at + 3], "big")
            at += 3
            _need(body, at + size)
        yield kind, fourcc, track, body[at : at + size]
        at += size


def _need(body: bytes, size: int) -> None:
    if len(body) < size:
        raise InvalidBitstream("a tag that ends within its header")


def _fourcc(body: bytes, at: int) -> str:
    return body[at : at + 4].decode("latin-1")


def _signed24(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 3], "big", signed=True)


def serialize_video(tag: Tag, *, extended: bool = False) -> bytes:
    """A video message for one track; H.264 goes by its number of old where that can say it all,
    unless `extended`."""
    frame_type = 1 if tag.keyframe else 2
    if tag.fourcc == _AVC and not (extended or tag.track or tag.nanoseconds):
        packet = (Packet.CONFIG, Packet.FRAME, Packet.END).index(tag.packet)
        header = bytes((frame_type << 4 | 7, packet)) + tag.composition.to_bytes(
            3, "big", signed=True
        )
        return header + tag.data
    kind = {Packet.CONFIG: _V_START, Packet.END: _V_END}.get(tag.packet, _V_FRAMES)
    composition = b""
    if kind == _V_FRAMES and tag.fourcc in _COMPOSITION:
        if tag.composition:
            composition = tag.composition.to_bytes(3, "big", signed=True)
        else:
            kind = _V_FRAMES_X
    head = 0x80 | frame_type << 4
    return _extended_header(head, kind, _V_MULTITRACK, tag) + composition + tag.data


def serialize_audio(tag: Tag, *, extended: bool = False) -> bytes:
    """An audio message for one track; AAC as H.264 in `serialize_video`."""
    if tag.fourcc == _AAC and not (extended or tag.track or tag.nanoseconds):
        return bytes((0xAF, tag.packet is Packet.FRAME)) + tag.data
    kind = {Packet.CONFIG: _A_START, Packet.END: _A_END}.get(tag.packet, _A_FRAMES)
    return _extended_header(_AUDIO_EX << 4, kind, _A_MULTITRACK, tag) + tag.data


def _extended_header(head: int, kind: int, multitrack: int, tag: Tag) -> bytes:
    inner = multitrack if tag.track else kind
    header = bytes((head | inner,))
    if tag.nanoseconds:
        header = bytes((head | _MOD_EX, 2)) + tag.nanoseconds.to_bytes(3, "big")
        header += bytes((_MOD_EX_NANO << 4 | inner,))
    if tag.track:
        header += bytes((_ONE_TRACK << 4 | kind,))
    header += tag.fourcc.encode("latin-1")
    if tag.track:
        header += bytes((tag.track,))
    return header
