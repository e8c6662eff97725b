"""What the service promises beside HTTP: limits by address, and what it announces."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from configs.kernel.clock import SystemClock
from media.hub import Hub
from media.webrtc.certificate import FILE_NAME
from media.webrtc.sdp import parse_offer
from media.webrtc.service import Overloaded, WebRtcConfig, WebRtcService
from scripts.bench.clip import Loop, clip
from tests.support.offers import CHROME
from tests.support.webrtc import until


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[WebRtcService]:
    """Without configured hosts, three sessions an address."""
    clock = SystemClock()
    hub = Hub(clock)
    made = WebRtcService(WebRtcConfig(data_dir=tmp_path, port=0, half_open_per_host=3), clock=clock)
    await made.open()
    hub.observe(made)
    source = Loop(hub, "demo", clip())
    stream = hub.stream("demo")
    assert stream is not None
    await until(lambda: stream.settled and bool(stream.gop(clip().video.id)))
    yield made
    await source.stop()
    await made.close()


async def test_offers_that_nobody_follows_up_are_bounded_by_address(
    service: WebRtcService,
) -> None:
    offer = parse_offer(CHROME)
    for _ in range(3):
        await service.join("demo", offer, remote="192.0.2.1")

    with pytest.raises(Overloaded):
        await service.join("demo", offer, remote="192.0.2.1")

    first = await service.join("demo", offer, remote="192.0.2.2")
    for _ in range(5):  # A proxy on this machine speaks for everybody.
        await service.join("demo", offer, remote="127.0.0.1")
    assert service.leave("demo", first.session)
    assert service.total_viewers == 8


async def test_the_address_that_was_reached_is_announced_first(service: WebRtcService) -> None:
    offer = parse_offer(CHROME)

    joined = await service.join("demo", offer, reached_at="127.0.0.1")
    foreign = await service.join("demo", offer, reached_at="203.0.113.9")

    assert f"a=candidate:1 1 udp 2130706431 127.0.0.1 {service.port} typ host" in joined.answer
    assert "203.0.113.9" not in foreign.answer


async def test_the_certificate_is_kept(service: WebRtcService, tmp_path: Path) -> None:
    kept = (tmp_path / FILE_NAME).read_bytes()
    clock = SystemClock()
    again = WebRtcService(WebRtcConfig(data_dir=tmp_path, port=0), clock=clock)

    await again.open()
    await again.close()

    assert (tmp_path / FILE_NAME).read_bytes() == kept


async def test_a_port_that_is_taken_is_an_error(service: WebRtcService, tmp_path: Path) -> None:
    second = WebRtcService(WebRtcConfig(data_dir=tmp_path, port=service.port), clock=SystemClock())

    with pytest.raises(OSError, match="in use"):
        await second.open()


async def test_closing_lets_the_viewers_go(service: WebRtcService) -> None:
    await service.join("demo", parse_offer(CHROME))

    await service.close()

    assert not any(service.holdings.values())
