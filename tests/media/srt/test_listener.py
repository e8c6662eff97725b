"""The listening side against honest callers, forgers and noise."""

import random
from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from media.srt.admission import ConnectionRequested
from media.srt.caller import CallerConfig, CallerConnection, Connected, Refused
from media.srt.connection import ConnectionEnded
from media.srt.handshake import (
    CONCLUSION,
    INDUCTION,
    LIVE,
    Capabilities,
    ExtensionType,
    Feature,
    Handshake,
    Rejection,
    encode_text,
    extension_flags,
)
from media.srt.listener import Listener, ListenerConfig
from media.srt.packets import ControlPacket, ControlType, DataPacket, parse
from tests.support.bad_wire import Weather
from tests.support.srt import CALLER, STRANGER, SrtWorld, entropy

PASSPHRASE = "correct horse battery"
ORDINARY = Capabilities(0x010501, LIVE, 120, 120)


def hold(world: SrtWorld, event: ConnectionRequested) -> None:
    """A shell that has not made up its mind."""


def events(world: SrtWorld) -> list[object]:
    return [event for _, event in world.caller_events]


def handshake_to(
    listener: Listener, handshake: Handshake, *, now: float = 1000.0
) -> list[Handshake]:
    """The answers to a handshake from CALLER."""
    packet = ControlPacket(ControlType.HANDSHAKE, 0, 0, body=handshake.serialize())
    listener.receive_datagram(packet.serialize(), CALLER, now=now)
    answers = []
    for data, address in listener.datagrams_to_send():
        assert address == CALLER
        answer = parse(data)
        assert isinstance(answer, ControlPacket)
        answers.append(Handshake.parse(answer.body))
    return answers


def cookie_from(listener: Listener, *, now: float = 1000.0) -> int:
    (answer,) = handshake_to(listener, Handshake(4, INDUCTION, 77), now=now)
    return answer.cookie


def conclusion(
    cookie: int,
    *,
    version: int = 5,
    socket_id: int = 77,
    capabilities: Capabilities | None = ORDINARY,
    extra: dict[ExtensionType, bytes] | None = None,
) -> Handshake:
    extensions = dict(extra or {})
    if capabilities is not None:
        extensions[ExtensionType.HSREQ] = capabilities.serialize()
    return Handshake(
        version,
        CONCLUSION,
        socket_id,
        cookie,
        initial_sequence=5,
        flags=extension_flags(extensions),
        extensions=extensions,
    )


# Coming in


def test_a_caller_is_asked_for_and_let_in() -> None:
    world = SrtWorld(weather=Weather(delay=0.05))
    world.call(CallerConfig(stream_id="publish:demo:key"))
    world.run(1)

    assert [request.stream_id for request in world.requests] == ["publish:demo:key"]
    assert events(world) == [Connected()]
    assert world.listener.half_open == 0


def test_an_induction_costs_no_memory() -> None:
    listener = Listener(entropy=entropy(1))

    for _ in range(1000):
        cookie_from(listener)

    assert listener.half_open == 0
    assert listener.next_timer() is None


def test_a_caller_waits_while_the_shell_thinks_and_is_asked_for_once() -> None:
    world = SrtWorld(on_request=hold)
    world.call(CallerConfig())
    world.run(2)
    assert len(world.requests) == 1

    request = world.requests[0].request
    assert world.listener.authorize(request, None, now=world.now)
    world.listener.accept(request, now=world.now)
    world.run(0.1)

    assert events(world) == [Connected()]


def test_a_lost_answer_is_given_again() -> None:
    world = SrtWorld(weather=Weather(loss=0.5), seed=5)
    for port in range(20):
        world.call(CallerConfig(connect_timeout_s=9.0), address=("198.51.100.7", 1 + port))
    world.run(9)

    assert events(world).count(Connected()) == 20
    assert len(world.requests) == 20


@pytest.mark.parametrize(
    "code",
    [
        Rejection.UNAUTHORIZED,
        Rejection.OVERLOAD,
        Rejection.FORBIDDEN,
        Rejection.NOT_FOUND,
        Rejection.BAD_MODE,
        Rejection.CONFLICT,
    ],
)
def test_a_refusal_reaches_the_caller_with_its_code(code: Rejection) -> None:
    def refuse(world: SrtWorld, event: ConnectionRequested) -> None:
        world.listener.reject(event.request, code, now=world.now)

    world = SrtWorld(on_request=refuse)
    world.call(CallerConfig())
    world.run(1)

    assert events(world) == [Refused(code)]
    assert len(world.requests) == 1


@pytest.mark.parametrize("key_length", [16, 24, 32])
def test_the_right_passphrase_opens(key_length: int) -> None:
    world = SrtWorld(passphrase=PASSPHRASE)
    world.call(CallerConfig(passphrase=PASSPHRASE, key_length=key_length))
    world.run(1)

    assert events(world) == [Connected()]


@pytest.mark.parametrize(
    ("wanted", "given", "code"),
    [
        (PASSPHRASE, "another passphrase", Rejection.BADSECRET),
        (PASSPHRASE, None, Rejection.UNSECURE),
        (None, PASSPHRASE, Rejection.UNSECURE),
    ],
)
def test_the_wrong_passphrase_does_not(
    wanted: str | None, given: str | None, code: Rejection
) -> None:
    world = SrtWorld(passphrase=wanted)
    world.call(CallerConfig(passphrase=given))
    world.run(1)

    assert events(world) == [Refused(code)]
    assert world.connections == []


def test_the_longer_latency_wins() -> None:
    listener = Listener(ListenerConfig(latency_s=0.5), entropy=entropy(1))
    asked = Capabilities(0x010501, LIVE, receiver_delay=120, sender_delay=800)
    handshake_to(listener, conclusion(cookie_from(listener), capabilities=asked))
    event = listener.next_event()
    assert isinstance(event, ConnectionRequested)
    assert listener.authorize(event.request, None, now=1000.0)
    listener.accept(event.request, now=1000.0)

    ((data, _),) = listener.datagrams_to_send()
    answer = parse(data)
    assert isinstance(answer, ControlPacket)
    granted = Handshake.parse(answer.body).extensions[ExtensionType.HSRSP]
    assert Capabilities.parse(granted).receiver_delay == 800
    assert Capabilities.parse(granted).sender_delay == 500


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 4}, Rejection.VERSION),
        ({"capabilities": None}, Rejection.ROGUE),
        ({"socket_id": 0}, Rejection.ROGUE),
        ({"capabilities": Capabilities(0x010200, LIVE, 1, 1)}, Rejection.VERSION),
        (
            {"capabilities": Capabilities(0x010501, LIVE | Feature.STREAM, 1, 1)},
            Rejection.MESSAGEAPI,
        ),
        ({"extra": {ExtensionType.CONGESTION: encode_text("file")}}, Rejection.CONGESTION),
        ({"extra": {ExtensionType.FILTER: encode_text("fec")}}, Rejection.FILTER),
        ({"extra": {ExtensionType.GROUP: bytes(8)}}, Rejection.GROUP),
        ({"extra": {ExtensionType.SID: b"\xff\xfe\xff\xfe"}}, Rejection.BAD_REQUEST),
    ],
)
def test_what_a_live_listener_cannot_do_is_refused(
    changes: dict[str, object], code: Rejection
) -> None:
    listener = Listener(entropy=entropy(1))

    handshake = conclusion(cookie_from(listener), **changes)  # type: ignore[arg-type]
    (answer,) = handshake_to(listener, handshake)

    assert answer.rejection == code
    assert listener.next_event() is None


def test_live_congestion_control_may_be_named() -> None:
    listener = Listener(entropy=entropy(1))
    extra = {ExtensionType.CONGESTION: encode_text("live")}

    assert handshake_to(listener, conclusion(cookie_from(listener), extra=extra)) == []
    assert isinstance(listener.next_event(), ConnectionRequested)


def test_a_conclusion_without_our_cookie_is_ignored() -> None:
    listener = Listener(entropy=entropy(1))
    cookie = cookie_from(listener)

    assert handshake_to(listener, conclusion(cookie ^ 1)) == []
    assert handshake_to(listener, conclusion(cookie), now=1100.0) == []
    assert listener.half_open == 0


def test_half_open_callers_are_bounded_for_each_address() -> None:
    world = SrtWorld(on_request=hold, config=ListenerConfig(max_half_open_per_address=4))
    for port in range(6):
        world.call(CallerConfig(), address=("198.51.100.7", 1 + port))
    world.call(CallerConfig(), address=("198.51.100.8", 1))
    world.run(0.1)

    assert world.listener.half_open == 5
    assert events(world) == [Refused(Rejection.BACKLOG)] * 2


def test_half_open_callers_of_one_ipv6_network_count_together() -> None:
    world = SrtWorld(on_request=hold, config=ListenerConfig(max_half_open_per_address=4))
    for host in range(6):
        world.call(CallerConfig(), address=(f"2001:db8::{host}", 9, 0, 0))
    world.run(0.1)

    assert world.listener.half_open == 4


def test_a_half_open_caller_is_given_up_after_ten_seconds() -> None:
    world = SrtWorld(on_request=hold)
    world.call(CallerConfig(connect_timeout_s=60))
    world.run(9.9)
    assert world.listener.half_open == 1

    world.run(0.2)

    assert world.listener.half_open == 0
    assert events(world) == [Refused(Rejection.TIMEOUT)]
    assert not world.listener.authorize(world.requests[0].request, None, now=world.now)


def test_a_full_server_says_so() -> None:
    world = SrtWorld(config=ListenerConfig(max_connections=1))
    world.call(CallerConfig(), address=("198.51.100.7", 1))
    world.call(CallerConfig(), address=("198.51.100.7", 2))
    world.run(0.1)

    assert events(world) == [Connected(), Refused(Rejection.OVERLOAD)]


# Going


def test_a_caller_that_vanishes_is_gone_within_five_seconds() -> None:
    world = SrtWorld()
    world.call(CallerConfig())
    world.run(3)
    left = world.now

    world.vanish()
    world.run(5)

    ((closed_at, closed),) = world.closed
    assert closed_at - left <= 5.0
    assert closed.connection == world.connections[0]
    assert world.listener.next_timer() is None


def test_a_silent_connection_stays() -> None:
    world = SrtWorld(weather=Weather(loss=0.05, delay=0.1))
    world.call(CallerConfig())
    world.run(120)

    assert world.closed == []
    assert events(world) == [Connected()]


def test_a_caller_that_closes_is_gone_at_once() -> None:
    world = SrtWorld()
    caller = world.call(CallerConfig())
    world.run(1)
    caller.send(b"last words", now=world.now)

    caller.close(now=world.now)
    world.run(0.01)

    assert world.received == b"last words"
    assert [closed.reason for _, closed in world.closed] == ["peer closed the connection"]


def test_a_kick_reaches_the_caller_even_when_its_message_is_lost() -> None:
    world = SrtWorld()
    world.call(CallerConfig())
    world.run(1)
    world.listener.close(world.connections[0], "kicked", now=world.now)
    assert len(list(world.listener.datagrams_to_send())) == 1, "lost on the way"

    world.run(1.5)

    assert ConnectionEnded("peer closed the connection") in events(world)


def test_closing_all_refuses_and_shuts_down() -> None:
    world = SrtWorld()
    world.call(CallerConfig(), address=("198.51.100.7", 1))
    world.run(0.1)
    world.on_request = hold
    world.call(CallerConfig(), address=("198.51.100.7", 2))
    world.run(0.1)

    world.listener.close_all("over", now=world.now)
    world.run(0.1)

    assert events(world)[1:] == [
        ConnectionEnded("peer closed the connection"),
        Refused(Rejection.CLOSE),
    ] or events(world)[1:] == [
        Refused(Rejection.CLOSE),
        ConnectionEnded("peer closed the connection"),
    ]
    assert world.listener.half_open == 0


# Forgers and noise


def streaming() -> tuple[SrtWorld, CallerConnection]:
    world = SrtWorld(config=ListenerConfig(latency_s=0.2))
    caller = world.call(CallerConfig())
    world.run(0.5)
    return world, caller


def send(world: SrtWorld, caller: CallerConnection, payload: bytes) -> None:
    caller.send(payload, now=world.now)


def stream(world: SrtWorld, caller: CallerConnection, count: int = 100) -> bytes:
    """Schedules packets from now on, one each 10 ms; what they carry."""
    sent = []
    for number in range(count):
        payload = number.to_bytes(4, "big") * 47
        sent.append(payload)
        world.at(world.now + number * 0.01, partial(send, world, caller, payload))
    return b"".join(sent)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80)), max_size=30), st.randoms())
def test_noise_does_not_disturb_a_connection(
    noise: list[tuple[bool, bytes]], rng: random.Random
) -> None:
    world, caller = streaming()
    expected = stream(world, caller)
    for truthful, data in noise:
        world.run(rng.random() * 0.03)
        target = world.connections[0] if truthful else rng.choice((0, 1, 0xFFFF_FFFF))
        head = data[:12].ljust(12, b"\0") + target.to_bytes(4, "big")
        world.inject(head + data[12:], STRANGER)
        world.inject(data, CALLER)
    world.run(2)

    assert world.received == expected
    assert world.closed == []


@pytest.mark.parametrize("kind", ControlType)
def test_a_stranger_cannot_speak_for_a_caller(kind: ControlType) -> None:
    world, caller = streaming()
    expected = stream(world, caller)
    world.run(0.3)
    before = world.listener.ignored

    forged = ControlPacket(kind, 0, world.connections[0], info=1, body=bytes(8))
    world.inject(forged.serialize(), STRANGER)
    world.inject(DataPacket(3, 0, world.connections[0], b"forged").serialize(), STRANGER)
    world.run(2)

    assert world.listener.ignored == before + 2
    assert world.received == expected
    assert world.closed == []


def test_a_handshake_in_the_middle_of_a_stream_changes_nothing() -> None:
    world, caller = streaming()
    expected = stream(world, caller)
    world.run(0.3)
    for handshake in (Handshake(4, INDUCTION, 1), conclusion(1), conclusion(1, socket_id=0)):
        for target in (0, world.connections[0]):
            packet = ControlPacket(
                ControlType.HANDSHAKE, 0, target, body=handshake.serialize()
            ).serialize()
            world.inject(packet, CALLER)
            world.inject(packet, STRANGER)
    world.run(2)

    assert world.received == expected
    assert len(world.requests) == 1


def test_nonsense_from_the_caller_itself_does_not_end_its_stream() -> None:
    world, caller = streaming()
    expected = stream(world, caller)
    rng = random.Random(4)
    kinds = [kind for kind in ControlType if kind is not ControlType.SHUTDOWN]
    for _ in range(300):
        world.run(0.003)
        body = rng.randbytes(rng.randrange(40))
        packet = ControlPacket(
            rng.choice(kinds), rng.getrandbits(32), world.connections[0], rng.getrandbits(32), body
        )
        if packet.kind is not ControlType.DROPREQ:
            world.inject(packet.serialize(), CALLER)
    world.run(2)

    assert world.received == expected


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=1600), max_size=20), st.integers(0, 1 << 32))
def test_random_datagrams_are_ignored(datagrams: list[bytes], seed: int) -> None:
    listener = Listener(entropy=entropy(seed))
    for data in datagrams:
        listener.receive_datagram(data, STRANGER, now=1.0)

    assert listener.half_open == 0
    assert listener.next_event() is None


@settings(max_examples=100)
@given(st.data())
def test_mutated_conversations_raise_nothing_and_stay_bounded(data: st.DataObject) -> None:
    """Everything a caller sends in a short life, damaged anywhere."""
    world = SrtWorld(passphrase=PASSPHRASE, weather=Weather(delay=0.01))
    caller = world.call(CallerConfig(passphrase=PASSPHRASE, stream_id="publish:demo:key"))
    captured: list[bytes] = []
    forward = world.listener.receive_datagram

    def damage(datagram: bytes, address: object, *, now: float) -> None:
        captured.append(datagram)
        mutated = bytearray(datagram)
        for _ in range(data.draw(st.integers(0, 2))):
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
        forward(bytes(mutated[: data.draw(st.integers(0, len(mutated)))]), CALLER, now=now)
        forward(datagram, CALLER, now=now)

    world.listener.receive_datagram = damage  # type: ignore[method-assign, assignment]
    world.run(0.1)
    if world.caller_events[:1] == [(world.caller_events[0][0], Connected())]:
        stream(world, caller, 10)
    world.run(0.5)

    assert captured
    assert world.listener.half_open <= 2
