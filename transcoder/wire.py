"""What the main process and a codec worker say to each other, over one stream socket.

Each message is a length (4 bytes, big-endian, of what follows), a type (1 byte) and a body. Sizes
are bounded on both sides: what is too large is refused when it is written, and breaks the
connection when it is read. No I/O here: bytes in, messages out, and the other way round.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from configs.kernel.errors import PeerError
from media.units import AccessUnit, Codec, Track, TrackId

MAX_MESSAGE: Final = 16 << 20
MAX_TEXT: Final = 4096
MAX_JOBS: Final = 32

_LENGTH: Final = struct.Struct(">I")
_TIMES: Final = struct.Struct(">qqB")
_PICTURE: Final = struct.Struct(">IIdIB")
_STATS: Final = struct.Struct(">QQQQIi")
_ORDER: Final = struct.Struct(">Bq")
_AFTER: Final = struct.Struct(">q")
_LOAD: Final = struct.Struct(">dQB")


@dataclass(frozen=True, slots=True)
class StartJob:
    """To the worker: make `target` out of `source`, in `codec`, from the next unit on, but only
    what is later than the tick `after`; what comes before it is there to be decoded from."""

    source: TrackId
    target: TrackId
    codec: Codec
    after: int


@dataclass(frozen=True, slots=True)
class StopJob:
    """To the worker: `target` is no longer wanted."""

    target: TrackId


@dataclass(frozen=True, slots=True)
class SourceGap:
    """To the worker: what follows is no continuation of what came before."""


@dataclass(frozen=True, slots=True)
class Finish:
    """To the worker: the stream is over; leave."""


@dataclass(frozen=True, slots=True)
class JobStats:
    """How one rendition fares: counts since the job began, `lag_ms` from the newest unit that came
    in to the newest that went out, `queued` units waiting."""

    target: TrackId
    units_in: int
    units_out: int
    dropped: int
    errors: int
    queued: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """From the worker, twice a second: it lives, and what it costs."""

    cpu_seconds: float
    resident_bytes: int
    jobs: tuple[JobStats, ...]


@dataclass(frozen=True, slots=True)
class Remark:
    """From the worker: a line for the log. `event` names it, `text` is for people."""

    event: str
    text: str


Message = AccessUnit | Track | StartJob | StopJob | SourceGap | Finish | Heartbeat | Remark


class _Type(IntEnum):
    UNIT = 1
    TRACK = 2
    START_JOB = 3
    STOP_JOB = 4
    SOURCE_GAP = 5
    FINISH = 6
    HEARTBEAT = 7
    REMARK = 8


_CODECS: Final = tuple(Codec)


def encode(message: Message) -> bytes:
    """The message as bytes. Raises `ValueError` when it is larger than `MAX_MESSAGE`."""
    kind, body = _body(message)
    if len(body) >= MAX_MESSAGE:
        raise ValueError(f"a message of {len(body)} bytes is too large for the wire")
    return _LENGTH.pack(len(body) + 1) + bytes([kind]) + body


def _body(message: Message) -> tuple[_Type, bytes]:
    match message:
        case AccessUnit():
            times = _TIMES.pack(message.pts, message.dts, message.keyframe)
            return _Type.UNIT, _short(message.track) + times + message.payload
        case Track():
            return _Type.TRACK, _track(message)
        case StartJob():
            order = _ORDER.pack(_CODECS.index(message.codec), message.after)
            return _Type.START_JOB, order + _short(message.source) + _short(message.target)
        case StopJob():
            return _Type.STOP_JOB, _short(message.target)
        case SourceGap():
            return _Type.SOURCE_GAP, b""
        case Finish():
            return _Type.FINISH, b""
        case Heartbeat():
            return _Type.HEARTBEAT, _heartbeat(message)
        case Remark():
            text = message.text.encode(errors="replace")[:MAX_TEXT]
            return _Type.REMARK, _short(message.event) + text


class Decoder:
    """Bytes in any portions; messages in order. Holds less than one message of `MAX_MESSAGE`
    besides what was received last."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0

    def receive(self, data: bytes) -> None:
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        self._buffer += data

    def next_event(self) -> Message | None:
        """The next whole message, or None. Raises `PeerError` on what is none of ours; the
        connection is of no use after that."""
        start = self._offset + _LENGTH.size
        if len(self._buffer) < start:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer, self._offset)
        if not 1 <= size <= MAX_MESSAGE:
            raise PeerError(f"a message of {size} bytes")
        if len(self._buffer) < start + size:
            return None
        body = bytes(self._buffer[start + 1 : start + size])
        parse = _PARSERS.get(self._buffer[start])
        if parse is None:
            raise PeerError(f"an unknown message type {self._buffer[start]}")
        self._offset = start + size
        return parse(_Body(body))


class _Body:
    """Reads a body from front to back; every shortage is the peer's fault."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise PeerError("a message ends too early")
        self._at += size
        return taken

    def unpack(self, layout: struct.Struct) -> tuple[int | float, ...]:
        return layout.unpack(self.take(layout.size))

    def text(self) -> str:
        return _decoded(self.take(self.take(1)[0]))

    def track_id(self) -> TrackId:
        return TrackId(self.text())

    def codec(self) -> Codec:
        index = self.take(1)[0]
        if index >= len(_CODECS):
            raise PeerError(f"an unknown codec {index}")
        return _CODECS[index]

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        if self._at != len(self._data):
            raise PeerError("a message is longer than its content")


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PeerError("a text that is not UTF-8") from error


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise ValueError("a name of more than 255 bytes")
    return bytes([len(data)]) + data


def _track(track: Track) -> bytes:
    picture = _PICTURE.pack(
        track.width, track.height, track.frame_rate, track.sample_rate, track.channels
    )
    return _short(track.id) + bytes([_CODECS.index(track.codec)]) + picture + track.config


def _heartbeat(beat: Heartbeat) -> bytes:
    if len(beat.jobs) > MAX_JOBS:
        raise ValueError("a worker with too many jobs")
    load = _LOAD.pack(beat.cpu_seconds, beat.resident_bytes, len(beat.jobs))
    jobs = (
        _short(job.target)
        + _STATS.pack(job.units_in, job.units_out, job.dropped, job.errors, job.queued, job.lag_ms)
        for job in beat.jobs
    )
    return load + b"".join(jobs)


def _parse_unit(body: _Body) -> AccessUnit:
    track = body.track_id()
    pts, dts, keyframe = body.unpack(_TIMES)
    return AccessUnit(track, int(pts), int(dts), bool(keyframe), body.rest())


def _parse_track(body: _Body) -> Track:
    track, codec = body.track_id(), body.codec()
    width, height, rate, sample_rate, channels = body.unpack(_PICTURE)
    return Track(
        id=track,
        codec=codec,
        config=body.rest(),
        width=int(width),
        height=int(height),
        frame_rate=float(rate),
        sample_rate=int(sample_rate),
        channels=int(channels),
    )


def _parse_start_job(body: _Body) -> StartJob:
    codec = body.codec()
    (after,) = body.unpack(_AFTER)
    job = StartJob(body.track_id(), body.track_id(), codec, int(after))
    body.end()
    return job


def _parse_stop_job(body: _Body) -> StopJob:
    job = StopJob(body.track_id())
    body.end()
    return job


def _parse_source_gap(body: _Body) -> SourceGap:
    body.end()
    return SourceGap()


def _parse_finish(body: _Body) -> Finish:
    body.end()
    return Finish()


def _parse_heartbeat(body: _Body) -> Heartbeat:
    cpu, resident, count = body.unpack(_LOAD)
    jobs = []
    if count > MAX_JOBS:
        raise PeerError("a worker with too many jobs")
    for _ in range(int(count)):
        target = body.track_id()
        jobs.append(JobStats(target, *(int(value) for value in body.unpack(_STATS))))
    body.end()
    return Heartbeat(float(cpu), int(resident), tuple(jobs))


def _parse_remark(body: _Body) -> Remark:
    event, text = body.text(), body.rest()
    if len(text) > MAX_TEXT:
        raise PeerError("a remark that is too long")
    return Remark(event, text.decode(errors="replace"))


_PARSERS: Final[dict[int, Callable[[_Body], Message]]] = {
    _Type.UNIT: _parse_unit,
    _Type.TRACK: _parse_track,
    _Type.START_JOB: _parse_start_job,
    _Type.STOP_JOB: _parse_stop_job,
    _Type.SOURCE_GAP: _parse_source_gap,
    _Type.FINISH: _parse_finish,
    _Type.HEARTBEAT: _parse_heartbeat,
    _Type.REMARK: _parse_remark,
}
