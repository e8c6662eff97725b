"""The server's end of a connection, without sockets and with time by hand."""

from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from configs.kernel.errors import PeerError
from media.rtmp import amf0
from media.rtmp.chunks import ChunkWriter, Message, MessageType
from media.rtmp.connection import (
    MAX_HELD,
    MAX_MESSAGE_STREAMS,
    TRANSITIONS,
    Input,
    RtmpConnection,
    RtmpLimits,
    State,
)
from media.rtmp.events import EncoderNamed, Event, PublishEnded, PublishRequested
from media.rtmp.handshake import SIZE, Schema
from media.rtmp.values import Value
from media.stream import AUDIO, VIDEO
from media.units import AccessUnit, Track
from tests.support.rtmp import (
    IDR,
    KEY,
    NAME,
    Client,
    avc,
    command,
    entropy,
    exchange,
    opening,
    play,
    published,
    recorded,
    seconds_of_media,
    server,
)

SHAKEN = bytes((3,)) + bytes(8) + entropy(SIZE - 8) + entropy(SIZE)
"""A client's handshake, whole."""


def units(events: list[Event]) -> list[AccessUnit]:
    return [event for event in events if isinstance(event, AccessUnit)]


def connected() -> tuple[Client, RtmpConnection]:
    """A client that has connected and asked to publish, but got no answer."""
    client, connection = Client(), server()
    exchange(client, connection, accept=False)
    return client, connection


def replies(client: Client, name: str) -> list[list[Value]]:
    """The server's commands of this name."""
    bodies = [
        amf0.parse(message.payload)
        for message in client.received
        if message.type == MessageType.COMMAND_AMF0
    ]
    return [values for values in bodies if values[0] == name]


def controls(client: Client, kind: MessageType) -> list[bytes]:
    return [message.payload for message in client.received if message.type == kind]


# Publishing


@pytest.mark.parametrize("schema", [None, *Schema])
def test_a_publisher_comes_through(schema: Schema | None) -> None:
    client, connection = Client(schema=schema), server()

    events = exchange(client, connection)
    client.send_media([*opening(), *seconds_of_media(2)])
    heard = exchange(client, connection)

    assert events == [PublishRequested("demo", KEY, "FMLE/3.0")]
    assert client.codes == ["NetStream.Publish.Start"]
    assert heard[0] == EncoderNamed("obs-output module")
    assert [event.id for event in heard if isinstance(event, Track)] == [VIDEO, AUDIO]
    assert sum(unit.track == VIDEO for unit in units(heard)) == 50
    assert sum(unit.track == AUDIO for unit in units(heard)) == 86
    assert sum(unit.keyframe for unit in units(heard) if unit.track == VIDEO) == 2


def test_connect_is_answered_with_what_is_carried() -> None:
    client, _ = published()

    (result,) = client.results
    for part in result[2:]:
        assert isinstance(part, dict)
        assert part["fourCcList"] == ["avc1", "hvc1", "av01", "mp4a", "Opus"]
        assert part["videoFourCcInfoMap"] == {"avc1": 4.0, "hvc1": 4.0, "av01": 4.0}
        assert part["audioFourCcInfoMap"] == {"mp4a": 4.0, "Opus": 4.0}
        assert part["capsEx"] == 15.0
    assert isinstance(result[3], dict)
    assert result[3]["code"] == "NetConnection.Connect.Success"
    assert result[3]["objectEncoding"] == 0
    assert controls(client, MessageType.WINDOW_ACK_SIZE) == [(2_500_000).to_bytes(4, "big")]
    assert controls(client, MessageType.SET_PEER_BANDWIDTH) == [
        (2_500_000).to_bytes(4, "big") + b"\x02"
    ]
    assert controls(client, MessageType.SET_CHUNK_SIZE) == [(65_536).to_bytes(4, "big")]


def test_amf3_is_echoed_and_understood() -> None:
    client, connection = Client(options={"objectEncoding": 3}), server()
    exchange(client, connection, accept=False)
    (result,) = client.results
    assert isinstance(result[3], dict)
    assert result[3]["objectEncoding"] == 3

    connection.accept_publish(now=0)
    body = b"\0" + amf0.serialize("@setDataFrame", "onMetaData") + b"\x11"
    body += bytes.fromhex("0a0b01") + b"\x0fencoder" + bytes.fromhex("0607") + b"abc" + b"\x01"
    client.send(4, Message(MessageType.DATA_AMF3, 1, 0, body))
    client.send(
        3,
        Message(MessageType.COMMAND_AMF3, 0, 0, b"\0" + amf0.serialize("deleteStream", 6, None, 1)),
    )

    assert exchange(client, connection) == [EncoderNamed("abc"), PublishEnded()]


def test_every_reply_of_the_way_is_there() -> None:
    client, _ = published()

    assert [values[1] for values in replies(client, "_result")] == [1.0, 2.0, 3.0, 4.0]
    assert len(replies(client, "onFCPublish")) == 1
    start = client.statuses[0]
    assert start["level"] == "status"
    assert {"clientid", "description"} < set(start)
    assert controls(client, MessageType.USER_CONTROL) == [bytes.fromhex("0000 00000001")]


def test_the_key_is_in_no_reply_and_no_repr() -> None:
    client, connection = Client(), server()
    events = exchange(client, connection, accept=False)
    connection.refuse_publish("unauthorized", now=0)
    said = connection.data_to_send()

    assert KEY not in repr(events)
    assert KEY.encode() not in said + b"".join(message.payload for message in client.received)


def test_a_stopped_publisher_may_begin_anew() -> None:
    client, connection = published()
    client.send(3, command("FCUnpublish", 6, None, NAME))
    client.send(3, command("deleteStream", 7, None, 1))

    assert exchange(client, connection) == [PublishEnded()]
    assert client.codes[-1] == "NetStream.Unpublish.Success"

    client.send(4, command("publish", 8, None, NAME, "live", stream=1))
    client.send_media([*opening(), avc(IDR, 0)])
    events = exchange(client, connection)
    assert isinstance(events[0], PublishRequested)
    assert len(units(events)) == 1


def test_deleting_another_stream_changes_nothing() -> None:
    client, connection = published()
    client.send(3, command("deleteStream", 7, None, 5))
    client.send(3, command("closeStream", 7, None, stream=5))

    assert exchange(client, connection) == []
    assert connection.state is State.PUBLISHING


def test_one_connection_publishes_one_stream() -> None:
    client, connection = published()
    client.send(3, command("publish", 9, None, "other?key=x", "live", stream=2))

    assert exchange(client, connection) == []
    assert client.codes == ["NetStream.Publish.Start", "NetStream.Publish.BadName"]
    assert connection.state is State.PUBLISHING


# Refusals


@pytest.mark.parametrize(
    "code", ["unauthorized", "not_found", "conflict", "forbidden", "overloaded"]
)
def test_a_refusal_says_why_and_closes(code: str) -> None:
    client, connection = connected()

    connection.refuse_publish(code, now=5.0)
    exchange(client, connection)

    (status,) = client.statuses
    assert status["level"] == "error"
    assert status["code"] == "NetStream.Publish.BadName"
    assert isinstance(status["description"], str)
    assert len(status["description"]) > 20
    assert connection.closing
    assert connection.next_timer() < 6.0


def test_another_application_is_refused() -> None:
    client, connection = Client(app="other"), server()

    assert exchange(client, connection) == []
    assert client.codes == ["NetConnection.Connect.InvalidApp"]
    assert connection.closing


def test_play_is_refused() -> None:
    connection = server()
    writer = ChunkWriter()
    stream = SHAKEN + writer.write(3, command("connect", 1, {"app": "live"}))
    stream += writer.write(3, command("play", 2, None, NAME, stream=1))

    connection.receive(stream, now=0)

    assert b"NetStream.Play.Failed" in connection.data_to_send()
    assert connection.closing


def test_a_kicked_publisher_is_told() -> None:
    client, connection = published()

    connection.kick("taken over by another publisher", now=3.0)
    client.send_media([avc(IDR, 0)])
    assert exchange(client, connection) == []

    assert client.statuses[-1]["level"] == "error"
    assert client.statuses[-1]["description"] == "taken over by another publisher"
    assert connection.closing
    assert connection.next_timer() == 3.5


def test_reconnect_is_asked_of_those_who_know_how() -> None:
    client, connection = Client(options={"capsEx": 3}), server()
    exchange(client, connection)
    assert connection.request_reconnect("rtmp://other/live")
    client.send_media([*opening(), avc(IDR, 0)])
    events = exchange(client, connection)

    status = client.statuses[-1]
    assert status["code"] == "NetConnection.Connect.ReconnectRequest"
    assert status["level"] == "status"
    assert status["tcUrl"] == "rtmp://other/live"
    assert len(units(events)) == 1

    assert connection.request_reconnect()
    exchange(client, connection)
    assert "tcUrl" not in client.statuses[-1]


@pytest.mark.parametrize("caps", [None, 2, float("nan"), float("inf"), -1, "1"])
def test_reconnect_is_not_asked_of_others(caps: float | str | None) -> None:
    client, connection = Client(options={"capsEx": caps}), server()
    exchange(client, connection)

    assert not connection.request_reconnect()
    exchange(client, connection)
    assert client.codes == ["NetStream.Publish.Start"]


# Control messages


def test_ping_is_answered() -> None:
    client, connection = published()
    client.send(2, Message(MessageType.USER_CONTROL, 0, 0, bytes.fromhex("0006 01020304")))
    exchange(client, connection)

    assert controls(client, MessageType.USER_CONTROL)[-1] == bytes.fromhex("0007 01020304")


def test_received_bytes_are_acknowledged_by_the_peers_window() -> None:
    client, connection = published()
    client.send(2, Message(MessageType.WINDOW_ACK_SIZE, 0, 0, (10_000).to_bytes(4, "big")))
    exchange(client, connection)
    assert controls(client, MessageType.ACKNOWLEDGEMENT) == []

    for message in [*opening(), *seconds_of_media(8, size=100)]:
        client.send_media([message])
        exchange(client, connection)

    counts = [int.from_bytes(body, "big") for body in controls(client, MessageType.ACKNOWLEDGEMENT)]
    assert len(counts) >= 2
    assert all(10_000 <= later - earlier < 11_000 for earlier, later in pairwise(counts))


@pytest.mark.parametrize(
    "message",
    [
        Message(MessageType.ACKNOWLEDGEMENT, 0, 0, b"\0\0\0\1"),
        Message(MessageType.SET_PEER_BANDWIDTH, 0, 0, b"\0\0\0\1\2"),
        Message(MessageType.WINDOW_ACK_SIZE, 0, 0, b"\0"),
        Message(MessageType.USER_CONTROL, 0, 0, b""),
        Message(MessageType.USER_CONTROL, 0, 0, b"\0\x03\0\0\0\1\0\0\0\1"),
        Message(MessageType.DATA_AMF0, 1, 0, b"\xfe"),
        Message(MessageType.DATA_AMF0, 1, 0, amf0.serialize("onMetaData")),
        Message(19, 0, 0, b"shared object"),
        Message(99, 0, 0, b"?"),
        command("_checkbw", 9, None),
        command("somethingNew", 0, {"a": 1}),
        avc(IDR, 0),
    ],
)
def test_what_says_nothing_to_us_breaks_nothing(message: Message) -> None:
    client, connection = published()
    client.send(7, message)
    client.send_media([*opening(), avc(IDR, 0)])

    assert len(units(exchange(client, connection))) == 1
    assert client.codes == ["NetStream.Publish.Start"]


# What the peer may not do


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (command("connect", 1, {"app": "live"}), "out_of_order"),
        (command("publish", 1, None, NAME, "live", stream=1), "out_of_order"),
        (command("play", 1, None, NAME, stream=1), "out_of_order"),
        (Message(MessageType.COMMAND_AMF0, 0, 0, b""), "command_invalid"),
        (Message(MessageType.COMMAND_AMF0, 0, 0, amf0.serialize(1, 2)), "command_invalid"),
        (Message(MessageType.COMMAND_AMF0, 0, 0, b"\x02\xff"), "amf_invalid"),
        (Message(MessageType.AGGREGATE, 1, 0, b"x"), "aggregate_invalid"),
        (Message(MessageType.SET_CHUNK_SIZE, 0, 0, bytes(4)), "chunk_invalid"),
    ],
)
def test_mistakes_of_a_publisher(message: Message, code: str) -> None:
    client, connection = published()
    client.send(7, message)

    with pytest.raises(PeerError) as raised:
        exchange(client, connection)
    assert raised.value.code == code


@pytest.mark.parametrize(
    "message",
    [
        command("createStream", 1, None),
        command("releaseStream", 1, None, NAME),
        command("publish", 1, None, NAME, "live", stream=1),
        command("play", 1, None, NAME, stream=1),
        avc(IDR, 0),
    ],
)
def test_nothing_comes_before_connect(message: Message) -> None:
    connection = server()
    connection.receive(SHAKEN, now=0)

    with pytest.raises(PeerError):
        connection.receive(ChunkWriter().write(3, message), now=0)


def test_message_streams_are_bounded() -> None:
    client, connection = published()
    for number in range(1, MAX_MESSAGE_STREAMS):
        client.send(3, command("createStream", 10 + number, None))
    exchange(client, connection)
    client.send(3, command("createStream", 99, None))

    with pytest.raises(PeerError):
        exchange(client, connection)


def test_what_comes_before_the_answer_is_held_and_then_read() -> None:
    client, connection = connected()
    client.send_media([*opening(), *seconds_of_media(1)])
    assert exchange(client, connection, accept=False) == []
    assert connection.awaits_decision

    connection.accept_publish(now=1.0)

    assert sum(unit.track == VIDEO for unit in units(exchange(client, connection))) == 25


def test_what_is_held_is_bounded() -> None:
    client, connection = connected()
    client.send_media(seconds_of_media(1, size=MAX_HELD // 10))

    with pytest.raises(PeerError) as raised:
        exchange(client, connection, accept=False)
    assert raised.value.code == "too_eager"


def test_many_small_messages_held_are_bounded_too() -> None:
    client, connection = connected()
    for _ in range(5000):
        client.send(4, Message(MessageType.AUDIO, 1, 0, b""))

    with pytest.raises(PeerError):
        exchange(client, connection, accept=False)


def test_what_is_read_without_publishing_is_bounded() -> None:
    connection = server()
    connection.receive(SHAKEN, now=0)
    writer = ChunkWriter()
    connection.receive(writer.write(3, command("connect", 1, {"app": "live"})), now=0)
    straggler = writer.write(4, Message(MessageType.VIDEO, 1, 0, bytes(1 << 20)))

    for _ in range(3):
        connection.receive(straggler, now=0)

    with pytest.raises(PeerError) as raised:
        connection.receive(straggler, now=0)
    assert raised.value.code == "too_much"


# Time


@pytest.mark.parametrize("how_far", [0, 1, 2000, 3073, 3200])
def test_half_done_connections_have_ten_seconds(how_far: int) -> None:
    connection = server(now=100.0)
    connection.receive(recorded([])[:how_far], now=105.0)

    assert connection.next_timer() == 110.0
    connection.handle_timer(now=109.9)
    with pytest.raises(PeerError) as raised:
        connection.handle_timer(now=110.0)
    assert raised.value.code == "setup_timeout"


def test_an_unanswered_publish_runs_out_too() -> None:
    _, connection = connected()

    with pytest.raises(PeerError):
        connection.handle_timer(now=10.0)


def test_a_silent_publisher_has_thirty_seconds() -> None:
    client, connection = published(now=50.0)
    client.send_media([avc(IDR, 0)])
    exchange(client, connection, now=60.0)

    assert connection.next_timer() == 90.0
    connection.handle_timer(now=89.9)
    with pytest.raises(PeerError) as raised:
        connection.handle_timer(now=90.0)
    assert raised.value.code == "idle_timeout"


def test_a_publisher_that_stopped_has_ten_seconds_to_begin_anew() -> None:
    client, connection = published()
    client.send(3, command("FCUnpublish", 6, None, NAME))
    exchange(client, connection, now=100.0)

    assert connection.next_timer() == 110.0


def test_limits_can_be_set() -> None:
    limits = RtmpLimits(app="in", setup_timeout_s=1, chunk_size=4096)
    client, connection = Client(app="in"), server(limits=limits)
    assert connection.next_timer() == 1
    exchange(client, connection)

    assert client.publishing
    assert controls(client, MessageType.SET_CHUNK_SIZE) == [(4096).to_bytes(4, "big")]


# Whatever comes


_WAYS: dict[State, list[Message]] = {
    State.AWAIT_CONNECT: [],
    State.READY: [command("connect", 1, {"app": "live"})],
    State.PUBLISHING: [
        command("connect", 1, {"app": "live"}),
        command("publish", 5, None, NAME, "live", stream=1),
    ],
}
_INPUTS: dict[Input, Message] = {
    Input.CONNECT: command("connect", 9, {"app": "live"}),
    Input.CREATE_STREAM: command("createStream", 9, None),
    Input.RELEASE: command("releaseStream", 9, None, NAME),
    Input.PUBLISH: command("publish", 9, None, NAME, "live", stream=1),
    Input.UNPUBLISH: command("FCUnpublish", 9, None, NAME),
    Input.PLAY: command("play", 9, None, NAME, stream=1),
    Input.MEDIA: avc(IDR, 0),
    Input.OTHER: command("other", 9, None),
}


@pytest.mark.parametrize("state", list(_WAYS))
@pytest.mark.parametrize("received", list(Input))
def test_every_pair_of_state_and_input(state: State, received: Input) -> None:
    connection = server()
    connection.receive(SHAKEN, now=0)
    writer = ChunkWriter()
    for message in _WAYS[state]:
        connection.receive(writer.write(3, message), now=0)
        connection.accept_publish(now=0)
    assert connection.state is state

    data = writer.write(3, _INPUTS[received])
    expected = TRANSITIONS.get((state, received))
    if expected is None:
        with pytest.raises(PeerError):
            connection.receive(data, now=0)
        assert connection.state is state
    else:
        connection.receive(data, now=0)
        assert connection.state is expected


@given(st.lists(st.sampled_from(list(Input)), max_size=12), st.data())
def test_walks_keep_to_the_table(walk: list[Input], data: st.DataObject) -> None:
    connection = server()
    connection.receive(SHAKEN, now=0)
    writer = ChunkWriter()
    publishing = False
    for received in walk:
        before = connection.state
        try:
            connection.receive(writer.write(3, _INPUTS[received]), now=0)
        except PeerError:
            assert (before, received) not in TRANSITIONS
            return
        while (event := connection.next_event()) is not None:
            if isinstance(event, PublishRequested):
                assert not publishing
                publishing = data.draw(st.booleans())
                if publishing:
                    connection.accept_publish(now=0)
                else:
                    connection.refuse_publish("conflict", now=0)
            elif isinstance(event, PublishEnded):
                assert publishing
                publishing = False
        assert publishing == (connection.state is State.PUBLISHING)


_RECORDING = recorded([*opening(), *seconds_of_media(1, start=0xFFFFFE00, size=200)])


@given(st.lists(st.integers(0, len(_RECORDING)), max_size=40))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    assert play(_RECORDING, cuts=cuts) == play(_RECORDING)


def test_every_byte_alone() -> None:
    recording = recorded([*opening(), *seconds_of_media(1)], chunk_size=7)

    assert play(recording, cuts=range(len(recording))) == play(recording)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, len(_RECORDING) - 1), st.binary(max_size=5)), max_size=8),
    st.lists(st.integers(0, len(_RECORDING)), max_size=3),
)
def test_mutated_sessions_are_carried_or_refused(
    edits: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    mutated = bytearray(_RECORDING)
    for at, replacement in edits:
        mutated[at : at + len(replacement)] = replacement
    try:
        events = play(bytes(mutated), cuts=cuts)
    except PeerError:
        return
    assert sum(len(unit.payload) for unit in units(events)) <= 2 * len(mutated)


@given(st.binary(max_size=200))
def test_random_bytes_behind_the_handshake_are_carried_or_refused(data: bytes) -> None:
    connection = server()
    connection.receive(SHAKEN, now=0)
    try:
        connection.receive(data, now=0)
    except PeerError:
        return
    assert connection.next_event() is None
