"""The listening side against honest callers, forgers and noise."""

import random
from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from media.srt.admission import ConnectionRequested
from media.srt.caller import CallerConfig, CallerConnection, Connected, Refused
from media.srt.connection import ConnectionEnded
from media.srt.handshake import (
    INDUCTION,
    Handshake,
    Rejection,
)
from media.srt.listener import ConnectionClosed, Listener, ListenerConfig
from media.srt.packets import ControlPacket, ControlType, DataPacket
from tests.support.bad_wire import Weather
from tests.support.srt import (
    CALLER,
    STRANGER,
    SrtWorld,
    conclusion,
    cookie_from,
    entropy,
    events,
    handshake_to,
    hold,
)

PASSPHRASE = "correct horse battery"


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


def test_a_conclusion_played_back_after_the_end_brings_nobody_in() -> None:
    world = SrtWorld()
    listener = world.listener
    asked = conclusion(cookie_from(listener))
    handshake_to(listener, asked)
    request = listener.next_event()
    assert isinstance(request, ConnectionRequested)
    assert listener.authorize(request.request, None, now=world.now)
    listener.close(listener.accept(request.request, now=world.now), "kicked", now=world.now)
    assert isinstance(listener.next_event(), ConnectionClosed)
    assert list(listener.datagrams_to_send())

    assert handshake_to(listener, asked) == []

    assert listener.next_event() is None
    assert listener.half_open == 0


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
