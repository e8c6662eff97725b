"""ICE over TCP: framing, and a viewer behind a network without UDP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.rtp.packet import RtpPacket, is_rtcp
from media.webrtc import stun
from media.webrtc.dtls import is_dtls
from media.webrtc.tcp import MAX_PER_HOST, Deframer
from media.webrtc.udp_port import MAX_DATAGRAM
from scripts.bench.clip import Loop, clip
from tests.support.raw_viewer import UFRAG, RawViewer
from tests.support.webrtc import Site, check, site, until


def framed(*datagrams: bytes) -> bytes:
    return b"".join(len(d).to_bytes(2, "big") + d for d in datagrams)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.integers(1, 20))
def test_datagrams_come_out_however_the_stream_was_cut(datagrams: list[bytes], step: int) -> None:
    stream = framed(*datagrams)
    deframer = Deframer()

    found = [
        datagram
        for at in range(0, len(stream), step)
        for datagram in deframer.receive(stream[at : at + step])
    ]

    assert found == datagrams


def test_empty_frames_are_passed_over() -> None:
    assert Deframer().receive(framed(b"", b"x", b"")) == [b"x"]


def test_a_frame_longer_than_a_datagram_is_refused() -> None:
    with pytest.raises(PeerError):
        Deframer().receive((MAX_DATAGRAM + 1).to_bytes(2, "big"))


@pytest.fixture
async def where(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as running:
        source = Loop(running.hub, "demo", clip())
        yield running
        await source.stop()


class TcpViewer:
    """A `RawViewer` whose datagrams travel in a TCP connection."""

    def __init__(self, viewer: RawViewer) -> None:
        self.viewer = viewer
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self) -> None:
        candidate = next(c for c in self.viewer.answer.split("\r\n") if "tcptype passive" in c)
        host, port = candidate.split()[4:6]
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        self.writer.write(framed(check(self.viewer.remote, UFRAG, nominate=True)))
        self.viewer.dtls.advance()
        self._flush()

    async def receive(self, packets: int) -> list[RtpPacket]:
        found: list[RtpPacket] = []
        async with asyncio.timeout(10):
            while len(found) < packets:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
                data = await self.reader.readexactly(size)
                if is_dtls(data):
                    self.viewer.dtls.receive(data)
                    self._flush()
                    if self.viewer.dtls.connected and self.viewer.srtp is None:
                        self.viewer.take_keys()
                elif not stun.is_stun(data) and not is_rtcp(data):
                    assert self.viewer.srtp is not None
                    found.append(RtpPacket.parse(self.viewer.srtp.unprotect_rtp(data)))
        return found

    def _flush(self) -> None:
        for datagram in self.viewer.dtls.datagrams():
            self.writer.write(framed(datagram))


async def test_a_viewer_without_udp_watches(where: Site) -> None:
    raw = await RawViewer(where).post()
    viewer = TcpViewer(raw)
    await viewer.connect()

    packets = await viewer.receive(100)

    assert {packet.payload_type for packet in packets} == {108, 111}
    video = [p.sequence for p in packets if p.payload_type == 108]
    assert video == [(video[0] + n) & 0xFFFF for n in range(len(video))]
    viewer.writer.close()
    await viewer.writer.wait_closed()
    raw.close()


async def test_a_lost_connection_is_no_longer_sent_to(where: Site) -> None:
    raw = await RawViewer(where).post()
    viewer = TcpViewer(raw)
    await viewer.connect()
    await viewer.receive(20)

    viewer.writer.transport.abort()
    await until(lambda: where.service.holdings["tcp_connections"] == 0)

    assert where.service.holdings["paths"] == 0
    assert where.service.viewers("demo") == 1  # Until its consent expires, it may come back.
    raw.leg.check(nominate=True)
    await until(lambda: raw.leg.media > 20)
    raw.close()


async def test_a_connection_that_floods_is_closed(where: Site) -> None:
    raw = await RawViewer(where).post()
    reader, writer = await asyncio.open_connection(*raw.server)
    writer.write(b"\xff" * 4000)

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)

    writer.close()
    raw.close()
    await until(lambda: where.service.holdings["tcp_connections"] == 0)


async def test_connections_from_one_address_are_bounded(where: Site) -> None:
    raw = await RawViewer(where).post()
    opened = [await asyncio.open_connection(*raw.server) for _ in range(MAX_PER_HOST + 1)]

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await opened[-1][0].readexactly(1)
    assert where.service.holdings["tcp_connections"] == MAX_PER_HOST

    for _, writer in opened:
        writer.close()
    raw.close()
    await until(lambda: where.service.holdings["tcp_connections"] == 0)
