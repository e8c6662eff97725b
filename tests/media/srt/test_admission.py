"""How callers come in, and why they do not."""

import pytest

from media.srt.admission import CallerRefused, ConnectionRequested
from media.srt.caller import CallerConfig, Connected, Refused
from media.srt.handshake import (
    INDUCTION,
    LIVE,
    Capabilities,
    ExtensionType,
    Feature,
    Handshake,
    Rejection,
    encode_text,
)
from media.srt.listener import Listener, ListenerConfig
from media.srt.packets import ControlPacket, ControlType, parse
from tests.support.bad_wire import Weather
from tests.support.srt import (
    CALLER,
    SrtWorld,
    conclusion,
    cookie_from,
    entropy,
    events,
    handshake_to,
    hold,
)

PASSPHRASE = "correct horse battery"


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
    assert listener.next_event() == CallerRefused(CALLER, code)
    assert handshake_to(listener, handshake) == [answer]
    assert listener.next_event() is None, "the repeated question is not told again"


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


def test_a_flood_from_one_address_is_told_of_once() -> None:
    listener = Listener(ListenerConfig(max_half_open_per_address=1), entropy=entropy(1))
    cookie = cookie_from(listener)

    for socket_id in range(1, 100):
        handshake_to(listener, conclusion(cookie, socket_id=socket_id))

    told = []
    while (event := listener.next_event()) is not None:
        told.append(type(event))
    assert told == [ConnectionRequested, CallerRefused]


def test_an_answer_to_an_induction_is_no_longer_than_the_question() -> None:
    listener = Listener(entropy=entropy(1))
    asked = ControlPacket(
        ControlType.HANDSHAKE, 0, 0, body=Handshake(4, INDUCTION, 7).serialize()
    ).serialize()

    listener.receive_datagram(asked, CALLER, now=1000.0)

    [(answer, to)] = listener.datagrams_to_send()
    assert to == CALLER
    assert len(answer) <= len(asked)


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
