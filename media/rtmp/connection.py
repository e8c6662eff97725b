"""The server's end of one RTMP connection: bytes and time in; bytes, events, a deadline out.

Theory of operation. A publisher shakes hands, connects to the application, makes a message stream
and asks to publish a name on it. Whether it may is not for us to know: `PublishRequested` goes out,
and until `accept_publish` or `refuse_publish` comes back, messages are held (bounded), not read.

    HANDSHAKE ──► AWAIT_CONNECT ──connect──► READY ──publish──► AUTHORIZING ──accept──► PUBLISHING
                                             ▲ │                     │                    │ │
                                             │ └─play──► CLOSING ◄───┴─refuse             │ │
                                             │              ▲─────────────────kick────────┘ │
                                             └──────────── FCUnpublish, deleteStream ───────┘

`TRANSITIONS` says which commands may come when; a pair that is not in it is the peer's mistake. A
`PeerError` from `receive` or `handle_timer` means: drop this peer now. `closing` means: send what
there is to send, then close. Half-done connections have `setup_timeout_s` to become publishers, and
publishers may be silent for `idle_timeout_s`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from configs.kernel.errors import PeerError
from media.rtmp import amf0, replies
from media.rtmp.address import app_name, publish_target
from media.rtmp.chunks import ChunkReader, ChunkWriter, Message, MessageType
from media.rtmp.demuxer import FlvDemuxer
from media.rtmp.events import EncoderNamed, Event, PublishEnded, PublishRequested
from media.rtmp.handshake import ServerHandshake
from media.rtmp.values import Value

MAX_HELD: Final = 1 << 20
"""Bytes of messages kept while the answer to a publish is not there yet."""

MAX_SETUP_BYTES: Final = 4 << 20
"""Bytes that a peer may have us read without being a publisher."""

MAX_MESSAGE_STREAMS: Final = 16
_PING_REQUEST: Final = 6
_CONTROL: Final = 2
_COMMANDS: Final = 3
_STATUS: Final = 5
_WINDOW: Final = 2_500_000


class State(Enum):
    HANDSHAKE = auto()
    AWAIT_CONNECT = auto()
    READY = auto()
    AUTHORIZING = auto()
    PUBLISHING = auto()
    CLOSING = auto()


class Input(Enum):
    CONNECT = auto()
    CREATE_STREAM = auto()
    RELEASE = auto()
    PUBLISH = auto()
    UNPUBLISH = auto()
    PLAY = auto()
    MEDIA = auto()
    OTHER = auto()


TRANSITIONS: Final = {
    (State.AWAIT_CONNECT, Input.CONNECT): State.READY,
    (State.AWAIT_CONNECT, Input.OTHER): State.AWAIT_CONNECT,
    (State.READY, Input.CREATE_STREAM): State.READY,
    (State.READY, Input.RELEASE): State.READY,
    (State.READY, Input.PUBLISH): State.AUTHORIZING,
    (State.READY, Input.UNPUBLISH): State.READY,
    (State.READY, Input.PLAY): State.CLOSING,
    (State.READY, Input.MEDIA): State.READY,
    (State.READY, Input.OTHER): State.READY,
    (State.PUBLISHING, Input.CREATE_STREAM): State.PUBLISHING,
    (State.PUBLISHING, Input.RELEASE): State.PUBLISHING,
    (State.PUBLISHING, Input.UNPUBLISH): State.READY,
    (State.PUBLISHING, Input.MEDIA): State.PUBLISHING,
    (State.PUBLISHING, Input.OTHER): State.PUBLISHING,
}

_COMMANDS_BY_NAME: Final = {
    "connect": Input.CONNECT,
    "createStream": Input.CREATE_STREAM,
    "releaseStream": Input.RELEASE,
    "FCPublish": Input.RELEASE,
    "publish": Input.PUBLISH,
    "FCUnpublish": Input.UNPUBLISH,
    "deleteStream": Input.UNPUBLISH,
    "closeStream": Input.UNPUBLISH,
    "play": Input.PLAY,
    "play2": Input.PLAY,
}


@dataclass(frozen=True, slots=True)
class RtmpLimits:
    """Seconds and bytes that one connection may take. `chunk_size` is ours towards the peer; ffmpeg
    takes it for its own direction too, so a large one saves both sides work."""

    app: str = "live"
    setup_timeout_s: float = 10.0
    idle_timeout_s: float = 30.0
    linger_s: float = 0.5
    max_message_bytes: int = 8 << 20
    chunk_size: int = 65_536


class RtmpConnection:
    """See the module. `now` is monotonic, in seconds; `entropy(n)` gives n random bytes."""

    def __init__(
        self, *, now: float, entropy: Callable[[int], bytes], limits: RtmpLimits | None = None
    ) -> None:
        self._limits = limits or RtmpLimits()
        self._handshake = ServerHandshake(entropy)
        self._reader = ChunkReader(max_message_size=self._limits.max_message_bytes)
        self._writer = ChunkWriter()
        self._demuxer = FlvDemuxer()
        self._out: list[bytes] = []
        self._events: deque[Event] = deque()
        self._held: deque[Message] = deque()
        self._held_bytes = 0
        self._deadline = now + self._limits.setup_timeout_s
        self._heard = now
        self._received = 0
        self._setup_bytes = 0
        self._acknowledged = 0
        self._ack_window = _WINDOW
        self._streams = 0
        self._publishing_on = 0
        self._app = ""
        self._tc_url = ""
        self._flash_version = ""
        self._reconnects = False
        self.state = State.HANDSHAKE

    # The five verbs

    def receive(self, data: bytes, *, now: float) -> None:
        """Raises `PeerError` for whatever is no RTMP or breaks a bound."""
        self._heard = now
        if self.state is State.CLOSING:
            return
        self._received += len(data)
        if self.state is not State.PUBLISHING:
            self._setup_bytes += len(data)
            if self._setup_bytes > MAX_SETUP_BYTES:
                raise PeerError("much said and nothing published", code="too_much")
        if self.state is State.HANDSHAKE:
            rest = self._handshake.receive(data)
            self._out.append(self._handshake.data_to_send())
            if rest is None:
                return
            self.state = State.AWAIT_CONNECT
            data = rest.data
        for message in self._reader.receive(data):
            self._take(message, now)
        if self._received - self._acknowledged >= self._ack_window:
            self._acknowledged = self._received
            self._send(_CONTROL, replies.acknowledgement(self._received))

    def next_timer(self) -> float:
        if self.state is State.PUBLISHING:
            return self._heard + self._limits.idle_timeout_s
        return self._deadline

    def handle_timer(self, *, now: float) -> None:
        """Raises `PeerError` when a deadline has passed, also when the linger time is over."""
        if now < self.next_timer():
            return
        if self.state is State.PUBLISHING:
            raise PeerError("nothing came from the publisher", code="idle_timeout")
        raise PeerError("not publishing in time", code="setup_timeout")

    def data_to_send(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    # What the owner decides

    @property
    def closing(self) -> bool:
        return self.state is State.CLOSING

    @property
    def awaits_decision(self) -> bool:
        """True while it is better not to read from the socket."""
        return self.state is State.AUTHORIZING

    def accept_publish(self, *, now: float) -> None:
        """Lets the publisher send, and reads what it has sent meanwhile. Raises `PeerError`."""
        if self.state is not State.AUTHORIZING:
            return
        self.state = State.PUBLISHING
        self._setup_bytes = 0
        self._heard = now
        self._demuxer = FlvDemuxer()
        self._send(_CONTROL, replies.stream_begin(self._publishing_on))
        self._send(_STATUS, replies.publish_started(self._publishing_on))
        while self._held and self.state is not State.AUTHORIZING:
            message = self._held.popleft()
            self._held_bytes -= len(message.payload)
            self._take(message, now)

    def refuse_publish(self, code: str, *, now: float) -> None:
        """Says why (`code` of a `PublishRefused`), then closes."""
        if self.state is State.AUTHORIZING:
            self._send(_STATUS, replies.publish_refused(self._publishing_on, code))
            self._close(now)

    def kick(self, reason: str, *, now: float) -> None:
        """Takes the publisher's right away and closes; `reason` is for the person behind it."""
        if self.state in (State.PUBLISHING, State.AUTHORIZING):
            self._send(_STATUS, replies.publish_taken(self._publishing_on, reason))
        if self.state is not State.CLOSING:
            self._close(now)

    def request_reconnect(self, tc_url: str = "") -> bool:
        """Asks a client that knows how to go elsewhere (or come back); false if it does not."""
        if not self._reconnects or self.state is State.CLOSING:
            return False
        self._send(_COMMANDS, replies.reconnect_request(tc_url))
        return True

    # Messages

    def _take(self, message: Message, now: float) -> None:
        if self.state is State.AUTHORIZING:
            self._held_bytes += len(message.payload)
            if self._held_bytes > MAX_HELD or len(self._held) >= 4096:
                raise PeerError("did not wait for the answer", code="too_eager")
            self._held.append(message)
            return
        if self.state is State.CLOSING:
            return
        match message.type:
            case MessageType.AUDIO | MessageType.VIDEO | MessageType.AGGREGATE:
                self._on_media(message)
            case MessageType.DATA_AMF0 | MessageType.DATA_AMF3:
                self._on_data(message)
            case MessageType.COMMAND_AMF0 | MessageType.COMMAND_AMF3:
                self._on_command(message, now)
            case MessageType.WINDOW_ACK_SIZE if len(message.payload) >= 4:
                self._ack_window = max(1, int.from_bytes(message.payload[:4], "big"))
            case MessageType.USER_CONTROL if int.from_bytes(message.payload[:2], "big") == (
                _PING_REQUEST
            ):
                self._send(_CONTROL, replies.ping_response(message.payload[2:6]))
            case _:
                pass  # acknowledgements, bandwidth, shared objects, and what is yet to come

    def _on_media(self, message: Message) -> None:
        self._step(Input.MEDIA)
        # Stream 0 is wrong, but some devices send there, and it can mean nothing else.
        if self.state is not State.PUBLISHING or message.stream not in (0, self._publishing_on):
            return
        for item in self._demuxer.receive(message):
            self._events.append(item)

    def _on_data(self, message: Message) -> None:
        if self.state is not State.PUBLISHING:
            return
        values = amf0.parse_prefix(_amf0_body(message, MessageType.DATA_AMF3))
        if values[:1] == ["@setDataFrame"]:
            values = values[1:]
        if len(values) > 1 and values[0] == "onMetaData" and isinstance(values[1], dict):
            self._demuxer.describe(values[1])
            encoder = values[1].get("encoder")
            if isinstance(encoder, str) and encoder:
                self._events.append(EncoderNamed(_printable(encoder)))

    def _on_command(self, message: Message, now: float) -> None:
        values = amf0.parse(_amf0_body(message, MessageType.COMMAND_AMF3))
        name = values[0] if values else None
        transaction = values[1] if len(values) > 1 else None
        if not isinstance(name, str) or not isinstance(transaction, int | float):
            raise PeerError("a command without name or number", code="command_invalid")
        arguments = values[2:]
        match _COMMANDS_BY_NAME.get(name, Input.OTHER):
            case Input.CONNECT:
                self._on_connect(transaction, arguments, now)
            case Input.CREATE_STREAM:
                self._on_create_stream(transaction)
            case Input.RELEASE:
                self._step(Input.RELEASE)
                self._send(_COMMANDS, replies.result(transaction))
                if name == "FCPublish":
                    self._send(_COMMANDS, replies.fc_published())
            case Input.PUBLISH:
                self._on_publish(message.stream, arguments, now)
            case Input.UNPUBLISH:
                self._on_unpublish(message.stream, name, arguments, now)
            case Input.PLAY:
                self._step(Input.PLAY)
                self._send(_STATUS, replies.play_refused(message.stream))
                self._close(now)
            case _:
                self._step(Input.OTHER)

    def _on_connect(self, transaction: float, arguments: list[Value], now: float) -> None:
        self._step(Input.CONNECT)
        options = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        self._app = _text(options.get("app"))
        self._tc_url = _text(options.get("tcUrl"))
        self._flash_version = _printable(_text(options.get("flashVer")))
        capabilities = options.get("capsEx")
        if isinstance(capabilities, int | float) and 0 <= capabilities < 1 << 32:
            self._reconnects = bool(int(capabilities) & replies.CAPS_RECONNECT)
        if app_name(self._app) != self._limits.app:
            wanted = self._limits.app
            self._send(
                _COMMANDS,
                replies.connect_refused(transaction, f"The server's address ends in /{wanted}."),
            )
            self._close(now)
            return
        encoding = 3 if options.get("objectEncoding") == 3 else 0
        self._send(_CONTROL, replies.window_ack_size(_WINDOW))
        self._send(_CONTROL, replies.set_peer_bandwidth(_WINDOW))
        self._send(_CONTROL, replies.set_chunk_size(self._limits.chunk_size))
        self._writer.chunk_size = self._limits.chunk_size
        self._send(_COMMANDS, replies.connected(transaction, encoding))

    def _on_create_stream(self, transaction: float) -> None:
        self._step(Input.CREATE_STREAM)
        if self._streams >= MAX_MESSAGE_STREAMS:
            raise PeerError("too many message streams", code="too_many_streams")
        self._streams += 1
        self._send(_COMMANDS, replies.result(transaction, self._streams))

    def _on_publish(self, stream: int, arguments: list[Value], now: float) -> None:
        if self.state is State.PUBLISHING and stream != self._publishing_on:
            self._send(_STATUS, replies.publish_refused(stream, "one_at_a_time"))
            return
        self._step(Input.PUBLISH)
        self._publishing_on = stream
        self._deadline = now + self._limits.setup_timeout_s
        name = _text(arguments[1]) if len(arguments) > 1 else ""
        target = publish_target(app=self._app, tc_url=self._tc_url, name=name)
        self._events.append(PublishRequested(target.room, target.key, self._flash_version))

    def _on_unpublish(self, stream: int, name: str, arguments: list[Value], now: float) -> None:
        if name == "deleteStream":
            # Sent on message stream 0, with the stream meant as its argument.
            given = arguments[1] if len(arguments) > 1 else None
            concerned = given == self._publishing_on
        else:
            concerned = name == "FCUnpublish" or stream == self._publishing_on
        if self.state is State.PUBLISHING and not concerned:
            return
        ended = self.state is State.PUBLISHING
        self._step(Input.UNPUBLISH)
        if ended:
            self._deadline = now + self._limits.setup_timeout_s
            self._events.append(PublishEnded())
            self._send(_STATUS, replies.unpublished(self._publishing_on))

    def _step(self, received: Input) -> None:
        after = TRANSITIONS.get((self.state, received))
        if after is None:
            raise PeerError(
                f"{received.name.lower()} while {self.state.name.lower()}", code="out_of_order"
            )
        self.state = after

    def _close(self, now: float) -> None:
        self.state = State.CLOSING
        self._held.clear()
        self._deadline = now + self._limits.linger_s

    def _send(self, csid: int, message: Message) -> None:
        self._out.append(self._writer.write(csid, message))


def _amf0_body(message: Message, amf3_type: MessageType) -> bytes:
    """AMF3 messages are AMF0 behind a byte 0 (and may change to AMF3 for single values)."""
    if message.type == amf3_type and message.payload[:1] == b"\0":
        return message.payload[1:]
    return message.payload


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""


def _printable(text: str) -> str:
    return "".join(c for c in text[:120] if c.isprintable())
