"""A publisher's end of RTMP without I/O, and the pieces that sessions are built of."""

from collections.abc import Iterator, Sequence

from media.codecs.h264 import AvcConfig
from media.codecs.hevc import HvcConfig
from media.codecs.nal import join_length_prefixed
from media.rtmp import amf0
from media.rtmp.chunks import ChunkReader, ChunkWriter, Message, MessageType
from media.rtmp.connection import RtmpConnection, RtmpLimits
from media.rtmp.events import Event, PublishRequested
from media.rtmp.flv import Packet, Tag, serialize_audio, serialize_video
from media.rtmp.handshake import SIZE, ClientHandshake, Schema
from media.rtmp.values import EcmaArray, Value

# Made with x264, x265 and SVT-AV1: 320x180, 320x192 and 320x192 at 30 frames a second.
SPS = bytes.fromhex("6742c00dda05067e7840000003004000000f03c50aa8")
PPS = bytes.fromhex("68ce0fc8")
AVCC = AvcConfig((SPS,), (PPS,)).serialize()
IDR = bytes.fromhex("6588840abcdef0123456789a")
SLICE = bytes.fromhex("419a0123456789abcdef0123")
HVCC = HvcConfig(
    vps=(bytes.fromhex("40010c01ffff01600000030090000003000003003c959409"),),
    sps=(
        bytes.fromhex(
            "42010101600000030090000003000003003ca00a080c16595952930b9a020000030002000003003c10"
        ),
    ),
    pps=(bytes.fromhex("4401c073c189"),),
).serialize()
HEVC_IDR = bytes.fromhex("2801ac213139955224cbffc713f43cf8")
AV1C = bytes.fromhex("81000c000a0b000000043cfefc02f80040")
AV1_KEY = bytes.fromhex(
    "0a0b000000043cfefc4af90040321a10008ba08145082040000003250f611dfba123b2c3c24a1b0588"
)
AV1_INTER = bytes.fromhex("3213300204092492224600000080000000ac43d896")
ASC = bytes.fromhex("1210")
"""AAC-LC, 44,100 Hz, stereo."""
AAC_FRAME = bytes.fromhex("211004608c1c")
OPUS_PACKET = bytes.fromhex("fc8a51")
"""20 ms of stereo."""

KEY = "s3cret"
NAME = f"demo?key={KEY}"
METADATA = EcmaArray(
    {"width": 320.0, "height": 180.0, "framerate": 30.0, "encoder": "obs-output module"}
)


def entropy(size: int) -> bytes:
    """Bytes that are the same each time, and none of them zero."""
    return bytes(index % 251 + 1 for index in range(size))


def server(*, now: float = 0.0, limits: RtmpLimits | None = None) -> RtmpConnection:
    return RtmpConnection(now=now, entropy=entropy, limits=limits)


def command(*values: Value, stream: int = 0) -> Message:
    return Message(MessageType.COMMAND_AMF0, stream, 0, amf0.serialize(*values))


def video(
    data: bytes,
    timestamp: int,
    *,
    fourcc: str = "avc1",
    packet: Packet = Packet.FRAME,
    keyframe: bool = False,
    composition: int = 0,
    extended: bool = False,
) -> Message:
    tag = Tag(fourcc, packet, data, keyframe, composition)
    return Message(MessageType.VIDEO, 1, timestamp, serialize_video(tag, extended=extended))


def audio(
    data: bytes, timestamp: int, *, fourcc: str = "mp4a", packet: Packet = Packet.FRAME
) -> Message:
    return Message(MessageType.AUDIO, 1, timestamp, serialize_audio(Tag(fourcc, packet, data)))


def avc(nal: bytes, timestamp: int, *, composition: int = 0) -> Message:
    """A picture of one NAL unit."""
    return video(
        join_length_prefixed([nal]),
        timestamp,
        keyframe=nal[0] & 0x1F == 5,
        composition=composition,
    )


def opening() -> list[Message]:
    """Metadata, and the configuration of H.264 and AAC."""
    body = amf0.serialize("@setDataFrame", "onMetaData", METADATA)
    return [
        Message(MessageType.DATA_AMF0, 1, 0, body),
        video(AVCC, 0, packet=Packet.CONFIG, keyframe=True),
        audio(ASC, 0, packet=Packet.CONFIG),
    ]


def seconds_of_media(count: int, *, start: int = 0, size: int = 0) -> Iterator[Message]:
    """H.264 at 25 pictures a second with a keyframe each second, and AAC, in order of time;
    `size` bytes are added to each picture."""
    filling = bytes(index & 0x7F | 1 for index in range(size))
    moments = [(index * 40, avc, index) for index in range(25 * count)]
    frames = range(count * 44100 // 1024)
    sounds = [(round(index * 1024 / 44.1), audio, index) for index in frames]
    for moment, kind, index in sorted([*moments, *sounds], key=lambda each: each[0]):
        at = start + moment & 0xFFFFFFFF
        if kind is avc:
            yield avc((SLICE if index % 25 else IDR) + filling, at)
        else:
            yield audio(AAC_FRAME, at)


def hello(client: "Client", *, name: str = NAME) -> list[tuple[int, Message]]:
    """All that a publisher says up to its media, without waiting for answers."""
    return [
        *client.greeting(),
        (3, command("releaseStream", 2, None, name)),
        (3, command("FCPublish", 3, None, name)),
        (3, command("createStream", 4, None)),
        (4, command("publish", 5, None, name, "live", stream=1)),
    ]


def recorded(
    media: Sequence[Message], *, chunk_size: int = 128, csids: tuple[int, int] = (4, 6)
) -> bytes:
    """The bytes of a publisher that never waits for an answer: handshake, commands, media."""
    writer = ChunkWriter()
    out = [bytes((3,)) + bytes(8) + entropy(SIZE - 8) + entropy(SIZE)]
    size = Message(MessageType.SET_CHUNK_SIZE, 0, 0, chunk_size.to_bytes(4, "big"))
    out.append(writer.write(2, size))
    writer.chunk_size = chunk_size
    out += [writer.write(csid, message) for csid, message in hello(Client())]
    for message in media:
        out.append(writer.write(csids[message.type == MessageType.VIDEO], message))
    return b"".join(out)


class Client:
    """Shakes hands, connects and publishes as ffmpeg and OBS do, each step on its answer."""

    def __init__(
        self,
        name: str = NAME,
        *,
        app: str = "live",
        tc_url: str = "rtmp://localhost/live",
        schema: Schema | None = None,
        options: dict[str, Value] | None = None,
    ) -> None:
        self.name = name
        self.statuses: list[dict[str, Value]] = []
        self.results: list[list[Value]] = []
        self.received: list[Message] = []
        self._options: dict[str, Value] = {
            "app": app,
            "type": "nonprivate",
            "flashVer": "FMLE/3.0",
            "tcUrl": tc_url,
            **(options or {}),
        }
        self._handshake = ClientHandshake(entropy, schema=schema)
        self._shaken = False
        self._reader = ChunkReader(max_message_size=1 << 20)
        self._writer = ChunkWriter()
        self._out: list[bytes] = []

    @property
    def codes(self) -> list[Value]:
        return [status.get("code") for status in self.statuses]

    @property
    def publishing(self) -> bool:
        return "NetStream.Publish.Start" in self.codes

    def greeting(self) -> list[tuple[int, Message]]:
        return [(3, command("connect", 1, self._options))]

    def send(self, csid: int, message: Message) -> None:
        self._out.append(self._writer.write(csid, message))

    def send_media(self, messages: Sequence[Message] | Iterator[Message]) -> None:
        for message in messages:
            self.send(6 if message.type == MessageType.VIDEO else 4, message)

    def set_chunk_size(self, size: int) -> None:
        self.send(2, Message(MessageType.SET_CHUNK_SIZE, 0, 0, size.to_bytes(4, "big")))
        self._writer.chunk_size = size

    def data_to_send(self) -> bytes:
        data = self._handshake.data_to_send() + b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> None:
        if not self._shaken:
            rest = self._handshake.receive(data)
            if rest is None:
                return
            self._shaken = True
            for csid, message in self.greeting():
                self.send(csid, message)
            data = rest.data
        for message in self._reader.receive(data):
            self.received.append(message)
            if message.type == MessageType.COMMAND_AMF0:
                self._on_command(amf0.parse(message.payload))

    def _on_command(self, values: list[Value]) -> None:
        match values:
            case ["_result", 1.0, *_]:
                self.results.append(values)
                self.send(3, command("releaseStream", 2, None, self.name))
                self.send(3, command("FCPublish", 3, None, self.name))
                self.send(3, command("createStream", 4, None))
            case ["_result", 4.0, None, stream]:
                assert isinstance(stream, float)
                self.send(4, command("publish", 5, None, self.name, "live", stream=int(stream)))
            case ["onStatus", _, _, dict() as status] | ["_error", _, _, dict() as status]:
                self.statuses.append(status)
            case _:
                pass


def exchange(
    client: Client, connection: RtmpConnection, *, now: float = 0.0, accept: bool = True
) -> list[Event]:
    """Carries bytes both ways until both are silent; publish requests are accepted unless told
    otherwise. Gives the server's events."""
    events: list[Event] = []
    while True:
        up = client.data_to_send()
        if up:
            connection.receive(up, now=now)
        while (event := connection.next_event()) is not None:
            events.append(event)
            if accept and isinstance(event, PublishRequested):
                connection.accept_publish(now=now)
        down = connection.data_to_send()
        if down:
            client.receive(down)
        if not up and not down:
            return events


def published(
    *, now: float = 0.0, limits: RtmpLimits | None = None
) -> tuple[Client, RtmpConnection]:
    """Both ends of a connection that is publishing."""
    client, connection = Client(), server(now=now, limits=limits)
    exchange(client, connection, now=now)
    assert client.publishing
    return client, connection


def play(recording: bytes, *, cuts: Sequence[int] = (), now: float = 0.0) -> list[Event]:
    """Events of a server that gets the recording in pieces cut at these places."""
    connection = server(now=now)
    events: list[Event] = []
    places = sorted({min(cut, len(recording)) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(recording)], strict=True):
        connection.receive(recording[start:end], now=now)
        while (event := connection.next_event()) is not None:
            events.append(event)
            if isinstance(event, PublishRequested):
                connection.accept_publish(now=now)
    return events
