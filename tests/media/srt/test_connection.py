"""Two ends and a bad wire: what is sent arrives, in order, at its time."""

from functools import partial

import pytest

from media.srt.admission import ConnectionRequested
from media.srt.caller import CallerConfig, CallerConnection
from media.srt.handshake import FLOW_WINDOW
from media.srt.listener import ListenerConfig
from tests.support.bad_wire import Weather
from tests.support.srt import SrtWorld

PASSPHRASE = "correct horse battery"
PACKET = 1316
EVERY_S = 0.004
LAN = Weather(delay=0.001)
BAD = Weather(loss=0.05, delay=0.05, jitter=0.01, duplicated=0.02, reordered=0.02, detour=0.015)
WORSE = Weather(loss=0.05, delay=0.1, jitter=0.02, duplicated=0.02, reordered=0.05, detour=0.03)


def payload(number: int) -> bytes:
    return number.to_bytes(4, "big") * (PACKET // 4)


def send(world: SrtWorld, caller: CallerConnection, number: int) -> None:
    caller.send(payload(number), now=world.now)


def send_back(world: SrtWorld, number: int) -> None:
    world.listener.send(world.connections[0], payload(number), now=world.now)


def connected(
    weather: Weather, caller: CallerConfig, *, seed: int = 1, passphrase: str | None = None
) -> tuple[SrtWorld, CallerConnection]:
    config = ListenerConfig(latency_s=caller.latency_s)
    world = SrtWorld(weather=weather, seed=seed, passphrase=passphrase, config=config)
    connection = world.call(caller)
    world.run(2)
    assert len(world.connections) == 1
    return world, connection


def push(world: SrtWorld, caller: CallerConnection, count: int) -> dict[int, float]:
    """Schedules packets from now on; when each is sent."""
    times = {}
    for number in range(count):
        times[number] = world.now + number * EVERY_S
        world.at(times[number], partial(send, world, caller, number))
    return times


def arrivals(world: SrtWorld) -> dict[int, float]:
    """When each packet was delivered."""
    found: dict[int, float] = {}
    for at, event in world.payloads:
        for start in range(0, len(event.payload), PACKET):
            found[int.from_bytes(event.payload[start : start + 4], "big")] = at
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("weather", [BAD, WORSE], ids=["100ms", "200ms"])
def test_nothing_is_lost_at_800_ms_and_all_comes_at_its_time(weather: Weather, seed: int) -> None:
    world, caller = connected(weather, CallerConfig(latency_s=0.8), seed=seed)
    sent = push(world, caller, 2500)
    world.run(13)

    assert world.received == b"".join(payload(number) for number in range(2500))
    assert world.dropped == 0
    assert world.up.lost > 80
    delays = [at - sent[number] for number, at in arrivals(world).items()]
    assert max(delays) - min(delays) < 0.002
    assert weather.delay + 0.8 <= min(delays) <= weather.delay + weather.jitter + 0.82


def test_sequence_numbers_wrap() -> None:
    config = CallerConfig(latency_s=0.4, initial_sequence=0x7FFF_FFFF - 500)
    world, caller = connected(BAD, config)
    push(world, caller, 1000)
    world.run(6)

    assert world.received == b"".join(payload(number) for number in range(1000))


def test_timestamps_wrap() -> None:
    world, caller = connected(BAD, CallerConfig(latency_s=0.6))
    world.run(4290)
    sent = push(world, caller, 2000)
    world.run(10)

    assert sent[0] < 1000 + (1 << 32) / 1e6 < sent[1999]
    assert world.received == b"".join(payload(number) for number in range(2000))


@pytest.mark.parametrize("key_length", [16, 24, 32])
def test_keys_are_renewed_without_a_gap(key_length: int) -> None:
    config = CallerConfig(
        passphrase=PASSPHRASE,
        key_length=key_length,
        latency_s=0.6,
        refresh_packets=500,
    )
    world, caller = connected(BAD, config, passphrase=PASSPHRASE)
    push(world, caller, 3000)
    world.run(14)

    assert world.received == b"".join(payload(number) for number in range(3000))
    stats = world.listener.stats(world.connections[0])
    assert stats is not None
    assert stats.undecryptable == 0


def test_what_cannot_come_in_time_is_given_up_and_the_rest_is_in_order() -> None:
    weather = Weather(loss=0.3, delay=0.1)
    world, caller = connected(weather, CallerConfig(latency_s=0.12, connect_timeout_s=9), seed=3)
    sent = push(world, caller, 1000)
    world.run(6)

    numbers = list(arrivals(world))
    assert numbers == sorted(set(numbers))
    assert 500 < len(numbers) < 1000
    assert world.dropped == numbers[-1] + 1 - len(numbers)
    # The last one may come late, since it holds nobody up.
    delays = [at - sent[number] for number, at in arrivals(world).items() if number < 999]
    assert max(delays) < 0.25


def test_an_outage_costs_what_fell_into_it() -> None:
    world, caller = connected(LAN, CallerConfig(latency_s=0.2))
    push(world, caller, 2500)
    world.run(2)
    carry = world.up.carry
    world.up.carry = lambda now: []  # type: ignore[method-assign]
    world.run(3)
    world.up.carry = carry  # type: ignore[method-assign]
    world.run(10)

    numbers = list(arrivals(world))
    assert numbers == sorted(numbers)
    assert numbers[-1] == 2499
    assert 3 / EVERY_S - 300 < world.dropped < 3 / EVERY_S + 10
    assert world.closed == []


def test_the_round_trip_is_measured() -> None:
    world, caller = connected(Weather(delay=0.06), CallerConfig())
    push(world, caller, 500)
    world.run(3)

    stats = world.listener.stats(world.connections[0])
    assert stats is not None
    assert stats.rtt == pytest.approx(0.12, abs=0.01)


def read_back(world: SrtWorld, count: int) -> None:
    for number in range(count):
        world.at(world.now + number * EVERY_S, partial(send_back, world, number))


def test_keys_are_renewed_for_a_reader() -> None:
    settings = ListenerConfig(latency_s=0.8, key_refresh_packets=400)
    world = SrtWorld(weather=BAD, passphrase=PASSPHRASE, config=settings)
    caller = world.call(CallerConfig(latency_s=0.8, passphrase=PASSPHRASE))
    world.run(2)
    read_back(world, 3000)
    world.run(15)

    events = [event for _, event in world.read_by_caller()]
    assert sum(len(event.payload) for event in events) == 3000 * PACKET
    assert caller.connection is not None
    assert caller.connection.stats.undecryptable == 0


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_reader_gets_everything_over_a_bad_wire(passphrase: str | None) -> None:
    config = CallerConfig(latency_s=0.8, passphrase=passphrase)
    world, _ = connected(WORSE, config, passphrase=passphrase)
    read_back(world, 3000)
    world.run(15)

    events = [event for _, event in world.read_by_caller()]
    assert b"".join(event.payload for event in events) == b"".join(
        payload(number) for number in range(3000)
    )
    assert sum(event.dropped for event in events) == 0


def test_a_burst_to_a_reader_is_spread() -> None:
    world, _ = connected(LAN, CallerConfig(latency_s=0.12))
    before = world.down.carried
    for number in range(1000):
        world.listener.send(world.connections[0], payload(number), now=world.now)
    world.run(0.005)
    first = world.down.carried - before

    world.run(3)

    assert first < 100
    assert b"".join(event.payload for _, event in world.read_by_caller()) == b"".join(
        payload(number) for number in range(1000)
    )


def test_a_reader_that_hears_nothing_costs_a_bounded_buffer() -> None:
    world, _ = connected(LAN, CallerConfig())
    world.vanish()
    read_back(world, 1000)
    world.run(3)
    stats = world.listener.stats(world.connections[0])
    assert stats is not None
    assert stats.sent < FLOW_WINDOW

    world.run(2)

    assert [closed.reason for _, closed in world.closed] == ["peer went silent"]


def test_two_callers_share_a_port_without_mixing() -> None:
    world = SrtWorld(weather=BAD, config=ListenerConfig(latency_s=0.8))
    callers = [
        world.call(CallerConfig(latency_s=0.8), address=("198.51.100.7", 1 + number))
        for number in range(2)
    ]
    world.run(2)
    for number in range(1000):
        for which, caller in enumerate(callers):
            when = world.now + number * EVERY_S
            world.at(when, partial(send, world, caller, 2 * number + which))
    world.run(6)

    for connection in world.connections:
        received = b"".join(
            event.payload for _, event in world.payloads if event.connection == connection
        )
        numbers = [
            int.from_bytes(received[at : at + 4], "big") for at in range(0, len(received), PACKET)
        ]
        assert numbers == list(range(numbers[0], 2000, 2))
        assert len(numbers) == 1000


def test_latency_counts_from_the_question_not_from_the_answer() -> None:
    """A slow decision must not make the stream late for ever."""

    def later(world: SrtWorld, event: ConnectionRequested) -> None:
        def decide() -> None:
            assert world.listener.authorize(event.request, None, now=world.now)
            world.connections.append(world.listener.accept(event.request, now=world.now))

        world.at(world.now + 1.5, decide)

    world = SrtWorld(weather=LAN, on_request=later, config=ListenerConfig(latency_s=0.2))
    caller = world.call(CallerConfig())
    world.run(2)
    sent = push(world, caller, 10)
    world.run(1)

    assert arrivals(world)[0] - sent[0] == pytest.approx(0.201, abs=0.002)
