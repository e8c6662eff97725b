"""The chunk stream (RTMP 1.0, section 5.3): messages cut into chunks, several of them interleaved.

Reading is the hot path. A 2.5 Mbit/s push in chunks of the default 128 bytes is some 2,400 chunks a
second, nearly all of them one marker byte and 128 bytes of payload. So whatever lies whole in the
received data is handled as a run: one strided slice tells how many markers follow each other, one
strided delete takes them out. Only what is left of a run goes chunk by chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from configs.kernel.errors import PeerError

DEFAULT_CHUNK_SIZE: Final = 128
MAX_CHUNK_SIZE: Final = 0xFFFFFF
MAX_CHUNK_STREAMS: Final = 64
"""Chunk streams of one connection; encoders use two to six."""

MAX_SIGNAL_SIZE: Final = 1 << 18
"""Bytes of one message that is neither sound nor picture."""

_EXTENDED: Final = 0xFFFFFF
_HEADER_SIZES: Final = (11, 7, 3, 0)
_RUN: Final = 64
"""Chunks looked ahead at once; bounds what a peer that interleaves wildly can make us look at."""


class MessageType(IntEnum):
    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACK_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    COMMAND_AMF3 = 17
    DATA_AMF0 = 18
    COMMAND_AMF0 = 20
    AGGREGATE = 22


_MEDIA: Final = frozenset({MessageType.AUDIO, MessageType.VIDEO, MessageType.AGGREGATE})


class ChunkError(PeerError):
    """The peer broke the chunk stream, or asked for more than the bounds."""

    code = "chunk_invalid"


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message. `timestamp` is in milliseconds and wraps at 2**32."""

    type: int
    stream: int
    timestamp: int
    payload: bytes


class _Incoming:
    """What the last header of a chunk stream said, and the message that is being put together."""

    __slots__ = ("buffer", "csid", "delta", "extended", "length", "stream", "timestamp", "type")

    def __init__(self, csid: int) -> None:
        self.csid = csid
        self.type = 0
        self.stream = 0
        self.length = 0
        self.timestamp = 0
        self.delta = 0
        self.extended = False
        self.buffer: bytearray | None = None


class ChunkReader:
    """Bytes in, messages out. Set Chunk Size and Abort are obeyed here and handed on as well."""

    def __init__(self, *, max_message_size: int) -> None:
        self._max_message_size = max_message_size
        self._chunk_size = DEFAULT_CHUNK_SIZE
        self._streams: dict[int, _Incoming] = {}
        self._header = b""
        self._current: _Incoming | None = None
        self._left = 0
        self._pending = 0

    def receive(self, data: bytes) -> list[Message]:
        """The messages that this data completes. Raises `ChunkError`; the reader is spent then."""
        if self._header:
            data = self._header + data
            self._header = b""
        messages: list[Message] = []
        pos = 0
        end = len(data)
        while pos < end:
            if self._current is None:
                opened = self._open_chunk(data, pos)
                if opened < 0:
                    self._header = data[pos:]
                    break
                pos = opened
            pos = self._take_payload(data, pos, messages)
        return messages

    def _take_payload(self, data: bytes, pos: int, messages: list[Message]) -> int:
        incoming = self._current
        assert incoming is not None
        buffer = incoming.buffer
        assert buffer is not None
        size = min(self._left, len(data) - pos)
        buffer += data[pos : pos + size]
        pos += size
        self._left -= size
        if self._left:
            return pos
        self._current = None
        if len(buffer) < incoming.length:
            if not incoming.extended and incoming.csid < 64:
                pos = self._take_run(data, pos, incoming, buffer)
            if len(buffer) < incoming.length:
                return pos
        self._finish(incoming, bytes(buffer), messages)
        return pos

    def _take_run(self, data: bytes, pos: int, incoming: _Incoming, buffer: bytearray) -> int:
        """Full chunks that continue this message, as many as follow each other."""
        chunk = self._chunk_size
        step = chunk + 1
        marker = bytes((0xC0 | incoming.csid,))
        missing = incoming.length - len(buffer)
        whole = min(missing // chunk, (len(data) - pos) // step)
        while whole > 0:
            ahead = min(whole, _RUN)
            markers = data[pos : pos + ahead * step : step]
            run = ahead - len(markers.lstrip(marker))
            if not run:
                break
            taken = bytearray(data[pos : pos + run * step])
            del taken[::step]
            buffer += taken
            pos += run * step
            whole -= run
            if run < ahead:
                break
        return pos

    def _finish(self, incoming: _Incoming, payload: bytes, messages: list[Message]) -> None:
        incoming.buffer = None
        self._pending -= incoming.length
        message = Message(incoming.type, incoming.stream, incoming.timestamp, payload)
        if incoming.type == MessageType.SET_CHUNK_SIZE:
            self._set_chunk_size(payload)
        elif incoming.type == MessageType.ABORT:
            self._abort(payload)
        messages.append(message)

    def _open_chunk(self, data: bytes, pos: int) -> int:
        """Reads a chunk's header; gives the place behind it, or -1 when it is not all there yet."""
        available = len(data) - pos
        first = data[pos]
        csid = first & 0x3F
        at = pos + 1
        if csid < 2:
            extra = csid + 1
            if available < 1 + extra:
                return -1
            csid = 64 + int.from_bytes(data[at : at + extra], "little")
            at += extra
        form = first >> 6
        size = _HEADER_SIZES[form]
        if len(data) - at < size:
            return -1
        incoming = self._streams.get(csid) or self._new_stream(csid, form)

        field = int.from_bytes(data[at : at + 3], "big") if form < 3 else 0
        extended = field == _EXTENDED if form < 3 else incoming.extended
        header_end = at + size
        if extended:
            if len(data) - header_end < 4:
                return -1
            field = int.from_bytes(data[header_end : header_end + 4], "big")
            header_end += 4
        elif form == 3:
            field = incoming.delta

        if form == 3 and incoming.buffer is not None:
            if extended and field not in (incoming.delta, incoming.timestamp):
                # Some encoders leave the field out of the chunks that continue a message.
                header_end -= 4
        else:
            incoming.extended = extended
            self._open_message(incoming, form, field, data[at : at + size])
        buffer = incoming.buffer
        assert buffer is not None
        self._current = incoming
        self._left = min(self._chunk_size, incoming.length - len(buffer))
        return header_end

    def _open_message(self, incoming: _Incoming, form: int, field: int, header: bytes) -> None:
        if incoming.buffer is not None:
            # The peer gave up the message before without an Abort.
            self._pending -= incoming.length
        if form <= 1:
            incoming.length = int.from_bytes(header[3:6], "big")
            incoming.type = header[6]
        if form == 0:
            incoming.stream = int.from_bytes(header[7:11], "little")
            incoming.timestamp = field
        else:
            incoming.timestamp = incoming.timestamp + field & 0xFFFFFFFF
        # An absolute timestamp too is what a chunk without header repeats as a delta (5.3.1.2.4).
        incoming.delta = field
        limit = self._max_message_size if incoming.type in _MEDIA else MAX_SIGNAL_SIZE
        self._pending += incoming.length
        if incoming.length > limit or self._pending > 2 * self._max_message_size:
            raise ChunkError(f"message of {incoming.length} bytes", code="message_too_large")
        incoming.buffer = bytearray()

    def _new_stream(self, csid: int, form: int) -> _Incoming:
        # librtmp pings on a new chunk stream with a header that has no message stream id.
        if form > 1:
            raise ChunkError("a chunk continues nothing")
        if len(self._streams) >= MAX_CHUNK_STREAMS:
            raise ChunkError("too many chunk streams")
        incoming = self._streams[csid] = _Incoming(csid)
        return incoming

    def _set_chunk_size(self, payload: bytes) -> None:
        size = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        if len(payload) < 4 or size == 0:
            raise ChunkError("chunk size of nothing")
        self._chunk_size = min(size, MAX_CHUNK_SIZE)

    def _abort(self, payload: bytes) -> None:
        incoming = self._streams.get(int.from_bytes(payload[:4], "big"))
        if incoming is not None and incoming.buffer is not None:
            self._pending -= incoming.length
            incoming.buffer = None


class ChunkWriter:
    """Messages in, bytes out, with the shortest header that says it (section 5.3.1.2)."""

    def __init__(self) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        self._sent: dict[int, tuple[Message, int]] = {}

    def write(self, csid: int, message: Message) -> bytes:
        return b"".join(self.chunks(csid, message))

    def chunks(self, csid: int, message: Message) -> Sequence[bytes]:
        """The message in its chunks; chunks of other chunk streams may go between them.

        A Set Chunk Size counts from the message after it: set `chunk_size` once it is written.
        """
        form, field = self._choose(csid, message)
        self._sent[csid] = (message, field)
        payload = message.payload
        header = field.to_bytes(3, "big") if field < _EXTENDED else b"\xff\xff\xff"
        header += len(payload).to_bytes(3, "big") + bytes((message.type,))
        header += message.stream.to_bytes(4, "little")
        extended = field.to_bytes(4, "big") if field >= _EXTENDED else b""
        first = _basic_header(form, csid) + header[: _HEADER_SIZES[form]] + extended
        following = _basic_header(3, csid) + extended
        size = self.chunk_size
        chunks = [first + payload[:size]]
        chunks += [following + payload[at : at + size] for at in range(size, len(payload), size)]
        return chunks

    def _choose(self, csid: int, message: Message) -> tuple[int, int]:
        """The form of the header and the value of its timestamp field."""
        if csid not in self._sent:
            return 0, message.timestamp
        last, last_field = self._sent[csid]
        delta = message.timestamp - last.timestamp & 0xFFFFFFFF
        if message.stream != last.stream or delta >= 1 << 31:
            return 0, message.timestamp
        if len(message.payload) != len(last.payload) or message.type != last.type:
            return 1, delta
        return (3 if delta == last_field else 2), delta


def _basic_header(form: int, csid: int) -> bytes:
    if csid < 64:
        return bytes((form << 6 | csid,))
    if csid < 64 + 256:
        return bytes((form << 6, csid - 64))
    return bytes((form << 6 | 1,)) + (csid - 64).to_bytes(2, "little")
