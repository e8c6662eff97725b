"""Coverage-guided fuzzing of the RTMP server's end of a connection.

The first byte of an input chooses the door: AMF, the handshake, the chunk stream behind it, whole
messages to a connection that publishes already (type, time, length, payload). Anything but a
`PeerError` is a finding.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from configs.kernel.errors import PeerError
from media.rtmp import amf0, amf3
from media.rtmp.chunks import ChunkWriter, Message, MessageType
from media.rtmp.connection import RtmpConnection
from media.rtmp.events import PublishRequested
from media.rtmp.flv import Packet, Tag, serialize_audio, serialize_video
from media.rtmp.handshake import CLIENT_KEY, SIZE, Schema, sign
from media.rtmp.values import AmfError
from media.units import AccessUnit
from scripts.fuzz import guided

_AVCC: Final = bytes.fromhex(
    "0142c00dffe100166742c00dda05067e7840000003004000000f03c50aa801000468ce0fc8"
)
_AV1C: Final = bytes.fromhex("81000c000a0b000000043cfefc02f80040")
_IDR: Final = bytes.fromhex("0000000c6588840abcdef0123456789a")
_CONNECT: Final = amf0.serialize("connect", 1, {"app": "live", "capsEx": 1})
_PUBLISH: Final = amf0.serialize("publish", 5, None, "demo?key=k", "live")


def entropy(size: int) -> bytes:
    return b"\x55" * size


def fuzz(data: bytes) -> None:
    if data:
        doors = (_amf, _handshake, _chunks, _messages)
        doors[data[0] % len(doors)](data[1:])


def _amf(data: bytes) -> None:
    for parse in (amf0.parse, amf3.parse):
        with suppress(AmfError):
            parse(data)
    amf0.parse_prefix(data)


def _handshake(data: bytes) -> None:
    with suppress(PeerError):
        _drive(RtmpConnection(now=0, entropy=entropy), data)


def _chunks(data: bytes) -> None:
    connection = RtmpConnection(now=0, entropy=entropy)
    _drive(connection, b"\x03" + bytes(2 * SIZE))
    with suppress(PeerError):
        _drive(connection, data)


def _messages(data: bytes) -> None:
    connection = RtmpConnection(now=0, entropy=entropy)
    writer = ChunkWriter()
    _drive(connection, b"\x03" + bytes(2 * SIZE))
    for body in (_CONNECT, _PUBLISH):
        _drive(connection, writer.write(3, Message(MessageType.COMMAND_AMF0, 1, 0, body)))
    out = bytearray()
    position = 0
    now = 0
    while position + 4 <= len(data):
        kind, step = data[position], data[position + 1]
        size = int.from_bytes(data[position + 2 : position + 4], "big") & 0x3FFF
        now = now + (step << (step & 24)) & 0xFFFFFFFF
        body = data[position + 4 : position + 4 + size]
        out += writer.write(4 + (kind & 1), Message(kind, 1, now, body))
        if kind == MessageType.SET_CHUNK_SIZE and len(body) >= 4:
            writer.chunk_size = max(1, int.from_bytes(body[:4], "big") & 0x7FFFFFFF)
        position += 4 + size
    with suppress(PeerError):
        _drive(connection, bytes(out))


def _drive(connection: RtmpConnection, data: bytes) -> None:
    """Feeds the data in pieces, and answers publish requests with yes."""
    carried = 0
    for at in range(0, len(data), 1448):
        connection.receive(data[at : at + 1448], now=0)
        while (event := connection.next_event()) is not None:
            if isinstance(event, PublishRequested):
                connection.accept_publish(now=0)
            elif isinstance(event, AccessUnit):
                carried += len(event.payload)
        connection.data_to_send()
        connection.next_timer()
    assert carried <= 4 * len(data)


def seeds() -> Iterator[bytes]:
    yield b"\0" + _CONNECT + b"\x11\x0a\x0b\x01\x03a\x04\x01\x03b\x06\x02\x01"
    yield b"\0" + bytes.fromhex("0905010a1301036104010a010402")
    signed = sign(b"\0\0\0\0\x09\0\x7c\x02" + entropy(SIZE - 8), Schema.KEY_FIRST, CLIENT_KEY)
    yield b"\1\x03" + signed + entropy(SIZE)
    writer = ChunkWriter()
    stream = b"".join(
        writer.write(3, Message(MessageType.COMMAND_AMF0, 1, 0, body))
        for body in (_CONNECT, _PUBLISH)
    )
    opening = [
        (18, amf0.serialize("@setDataFrame", "onMetaData", {"framerate": 30, "encoder": "x"})),
        (9, serialize_video(Tag("avc1", Packet.CONFIG, _AVCC))),
        (9, serialize_video(Tag("avc1", Packet.FRAME, _IDR, composition=33))),
        (8, serialize_audio(Tag("mp4a", Packet.CONFIG, b"\x12\x10"))),
        (8, serialize_audio(Tag("mp4a", Packet.FRAME, b"\x21\x10\x04"))),
        (9, serialize_video(Tag("av01", Packet.CONFIG, _AV1C))),
        (9, serialize_video(Tag("avc1", Packet.FRAME, _IDR, nanoseconds=5, track=1))),
        (9, bytes.fromhex("96116176633100000004000001aa01000005000002bbcc")),
        (9, bytes.fromhex("972102000101976176633100000000")),
        (8, serialize_audio(Tag("Opus", Packet.FRAME, b"\xfc\x8a\x51"))),
        (22, b"\x08\0\0\x03" + bytes(7) + b"\xaf\x01\x21" + b"\0\0\0\x0e"),
    ]
    yield (
        b"\2"
        + stream
        + b"".join(
            writer.write(4, Message(kind, 1, 40 * n, body))
            for n, (kind, body) in enumerate(opening)
        )
    )
    yield b"\3" + b"".join(
        bytes((kind, 40)) + len(body).to_bytes(2, "big") + body for kind, body in opening
    )


if __name__ == "__main__":
    guided.run(fuzz, seeds(), packages=("media.rtmp", "media.codecs"))
