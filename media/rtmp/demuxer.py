"""Messages of one publisher in, tracks and access units out, times in ticks of its own 90 kHz."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from configs.kernel.errors import PeerError
from media.codecs import aac, h264, hevc, opus
from media.codecs.assembler import VideoAssembler
from media.codecs.nal import split_length_prefixed
from media.errors import InvalidBitstream
from media.rtmp.chunks import Message, MessageType
from media.rtmp.clocks import TICKS_PER_MS, MillisecondClock, SampleClock
from media.rtmp.flv import Packet, Tag, parse_audio, parse_video
from media.rtmp.values import Value
from media.stream import AUDIO, VIDEO, Notice
from media.units import CLOCK_RATE, AccessUnit, Codec, Kind, Track

MAX_DAMAGED: Final = 100
"""Broken packets in a row before we give the peer up."""

MAX_NOTICES: Final = 8
_TAG_HEADER: Final = 11
_TAG_TAIL: Final = 4

_CODECS: Final = {
    "avc1": Codec.H264,
    "hvc1": Codec.HEVC,
    "av01": Codec.AV1,
    "mp4a": Codec.AAC,
    "Opus": Codec.OPUS,
}

Item: TypeAlias = Track | AccessUnit | Notice


class FlvDemuxer:
    """One published stream. Codecs that cannot be carried are skipped, with a notice."""

    def __init__(self) -> None:
        self._clock = MillisecondClock()
        self._video = _Video()
        self._audio = _Audio()
        self._noticed: set[str] = set()
        self._damaged = 0

    def describe(self, metadata: Mapping[str, Value]) -> None:
        """What `onMetaData` says; only used where the stream itself is silent."""
        rate = metadata.get("framerate")
        if isinstance(rate, int | float) and math.isfinite(rate) and 0 < rate <= 1000:
            self._video.frame_rate = float(rate)

    def receive(self, message: Message) -> Iterator[Item]:
        """What an audio, video or aggregate message holds. Raises `PeerError` when an aggregate
        lies about its sizes, or when one packet after the other is broken."""
        if message.type == MessageType.AGGREGATE:
            for part in split_aggregate(message):
                yield from self.receive(part)
            return
        if message.type not in (MessageType.AUDIO, MessageType.VIDEO):
            return
        is_video = message.type == MessageType.VIDEO
        milliseconds = self._clock.unwrap(message.timestamp)
        try:
            tags = parse_video(message.payload) if is_video else parse_audio(message.payload)
            for tag in tags:
                if tag.track == 0:
                    yield from self._take(tag, milliseconds, is_video=is_video)
            self._damaged = 0
        except InvalidBitstream as error:
            self._damaged += 1
            if self._damaged >= MAX_DAMAGED:
                raise PeerError("nothing but broken packets", code="invalid_bitstream") from error
            yield from self._notice("damaged", f"Broken packets were dropped: {error}.")

    def _take(self, tag: Tag, milliseconds: int, *, is_video: bool) -> Iterator[Item]:
        codec = _CODECS.get(tag.fourcc)
        if codec is None or (codec.kind is Kind.VIDEO) is not is_video:
            name = tag.fourcc if tag.fourcc.isascii() and tag.fourcc.isprintable() else "unknown"
            yield from self._notice(
                f"unsupported_codec_{'video' if is_video else 'audio'}",
                f"The codec {name} cannot be carried: send H.264 and AAC.",
            )
            return
        ticks = milliseconds * TICKS_PER_MS + tag.nanoseconds * CLOCK_RATE // 1_000_000_000
        track: _Video | _Audio = self._video if is_video else self._audio
        if tag.packet is Packet.CONFIG:
            yield from track.configure(codec, tag.data)
        elif tag.packet is Packet.FRAME:
            yield from track.frame(codec, tag, ticks)

    def _notice(self, code: str, message: str) -> Iterator[Item]:
        if code not in self._noticed and len(self._noticed) < MAX_NOTICES:
            self._noticed.add(code)
            yield Notice(code, message)


class _Video:
    """The video track: its assembler, the length of its lengths, what was announced."""

    def __init__(self) -> None:
        self.frame_rate = 0.0
        self._codec: Codec | None = None
        self._assembler: VideoAssembler | None = None
        self._length_size = 4
        self._announced: Track | None = None

    def configure(self, codec: Codec, record: bytes) -> Iterator[Item]:
        self._codec = codec
        self._length_size = 4
        try:
            self._assembler = VideoAssembler(VIDEO, codec, record or None)
            if codec is Codec.H264 and record:
                self._length_size = h264.AvcConfig.parse(record).length_size
            elif codec is Codec.HEVC and record:
                self._length_size = hevc.HvcConfig.parse(record).length_size
        except InvalidBitstream:
            # Perhaps the parameter sets come among the pictures; if not, there will be no track.
            self._assembler = VideoAssembler(VIDEO, codec)
            raise
        yield from self._announce(self._assembler.track)

    def frame(self, codec: Codec, tag: Tag, ticks: int) -> Iterator[Item]:
        if self._assembler is None or codec is not self._codec:
            self._codec = codec
            self._length_size = 4
            self._assembler = VideoAssembler(VIDEO, codec)
        parts = (
            [tag.data] if codec is Codec.AV1 else split_length_prefixed(tag.data, self._length_size)
        )
        picture = self._assembler.assemble(parts)
        if picture is None:
            return
        yield from self._announce(picture.track)
        pts = ticks + tag.composition * TICKS_PER_MS
        yield AccessUnit(VIDEO, pts, ticks, picture.keyframe, picture.payload)

    def _announce(self, track: Track | None) -> Iterator[Track]:
        if track is None:
            return
        if not track.frame_rate:
            track = replace(track, frame_rate=self.frame_rate)
        if track != self._announced:
            self._announced = track
            yield track


class _Audio:
    """The audio track, and the clock that takes the rounding out of its times."""

    def __init__(self) -> None:
        self._codec: Codec | None = None
        self._samples = 0
        self._rate = 0
        self._announced: Track | None = None
        self._clock = SampleClock()

    def configure(self, codec: Codec, record: bytes) -> Iterator[Item]:
        if codec is Codec.AAC:
            track = aac.track(AUDIO, record)
            self._samples = aac.AudioConfig.parse(record).frame_samples
        else:
            track = opus.track(AUDIO, _opus_config(record).serialize())
        self._codec = codec
        self._rate = track.sample_rate
        if track != self._announced:
            self._announced = track
            yield track

    def frame(self, codec: Codec, tag: Tag, ticks: int) -> Iterator[Item]:
        if codec is Codec.OPUS and self._codec is not codec:
            yield from self.configure(codec, b"")
        if self._codec is not codec or not tag.data:
            return
        samples = opus.packet_samples(tag.data) if codec is Codec.OPUS else self._samples
        at = self._clock.place(ticks, samples=samples, rate=self._rate)
        yield AccessUnit(AUDIO, at, at, keyframe=True, payload=tag.data)


def _opus_config(head: bytes) -> opus.OpusConfig:
    """The sequence start of Opus: an OpusHead, or nothing, which stands for plain stereo."""
    return opus.OpusConfig.from_head(head) if head else opus.OpusConfig(channels=2)


def split_aggregate(message: Message) -> Iterator[Message]:
    """The messages within an aggregate (RTMP 1.0, section 7.1.6): FLV tags whose times count from
    the first one's, which stands for the time of the aggregate. Raises `PeerError`."""
    body = message.payload
    first: int | None = None
    at = 0
    while at < len(body):
        if len(body) - at < _TAG_HEADER:
            raise PeerError("aggregate cut short", code="aggregate_invalid")
        kind = body[at]
        size = int.from_bytes(body[at + 1 : at + 4], "big")
        timestamp = body[at + 7] << 24 | int.from_bytes(body[at + 4 : at + 7], "big")
        at += _TAG_HEADER
        if len(body) - at < size:
            raise PeerError("aggregate cut short", code="aggregate_invalid")
        first = timestamp if first is None else first
        if kind in (MessageType.AUDIO, MessageType.VIDEO):
            moment = message.timestamp + timestamp - first & 0xFFFFFFFF
            yield Message(kind, message.stream, moment, body[at : at + size])
        at += size + _TAG_TAIL
