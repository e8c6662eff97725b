"""A WHEP viewer made of sockets and plain parts, which can do what a browser would not."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import ClientResponse

from media.rtp.packet import RtpPacket, is_rtcp
from media.rtp.rtcp import RtcpPacket, parse_compound
from media.webrtc import stun
from media.webrtc.dtls import is_dtls
from media.webrtc.ice import Credentials
from media.webrtc.srtp import SrtpProfile, SrtpSession
from tests.support.offers import CHROME
from tests.support.webrtc import OPENSSL_PROFILES, DtlsClient, Site, check, until

UFRAG: Final = "q7Zh"
SDP: Final = {"Content-Type": "application/sdp"}


class Leg:
    """One local address of the viewer: a socket, and what came in by it."""

    def __init__(self, viewer: "RawViewer") -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(("127.0.0.1", 0))
        self.answers: list[stun.Message] = []
        self.media = 0
        self._viewer = viewer
        asyncio.get_running_loop().add_reader(self.sock, self._readable)

    def send(self, data: bytes) -> None:
        self.sock.sendto(data, self._viewer.server)

    def check(self, *, nominate: bool = False, priority: int = 1) -> None:
        self.send(check(self._viewer.remote, UFRAG, nominate=nominate, priority=priority))

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.sock)
            self.sock.close()

    def _readable(self) -> None:
        while True:
            try:
                data = self.sock.recv(4096)
            except BlockingIOError:
                return
            if stun.is_stun(data):
                self.answers.append(stun.parse(data))
            else:
                self.media += not is_dtls(data)
                self._viewer.receive(data, self)


class RawViewer:
    """Posts an offer, checks, shakes hands and decrypts; every step is the test's to take."""

    def __init__(
        self,
        where: Site,
        *,
        profiles: Sequence[SrtpProfile] = tuple(SrtpProfile),
        offer: str = CHROME,
    ) -> None:
        self.where = where
        self.dtls = DtlsClient([OPENSSL_PROFILES[profile] for profile in profiles])
        self.offer = re.sub(r"sha-256 [0-9A-F:]+", f"sha-256 {self.dtls.fingerprint.value}", offer)
        self.status = 0
        self.answer = ""
        self.etag = ""
        self.session = ""
        self.server = ("", 0)
        self.remote = Credentials("", "")
        self.srtp: SrtpSession | None = None
        self.profile: SrtpProfile | None = None
        self.packets: list[RtpPacket] = []
        self.control: list[RtcpPacket] = []
        self.legs = [Leg(self)]

    @property
    def leg(self) -> Leg:
        return self.legs[0]

    def another_leg(self) -> Leg:
        self.legs.append(Leg(self))
        return self.legs[-1]

    async def post(self, room: str = "demo") -> "RawViewer":
        async with self.where.client.post(
            self.where.whep(room), data=self.offer, headers=SDP
        ) as response:
            self.status = response.status
            self.answer = await response.text()
            if response.status == 201:
                self.etag = response.headers["ETag"]
                self.session = self.where.url + response.headers["Location"]
                self._read_answer()
        return self

    async def connect(self) -> "RawViewer":
        """One nominated check and a handshake on the first leg."""
        self.leg.check(nominate=True)
        await until(lambda: bool(self.leg.answers))
        await self.shake_hands()
        return self

    async def shake_hands(self) -> None:
        self.dtls.advance()
        self._flush(self.leg)
        await until(lambda: self.srtp is not None)

    async def delete(self) -> ClientResponse:
        async with self.where.client.delete(self.session) as response:
            return response

    def send_control(self, *packets: bytes) -> None:
        assert self.srtp is not None
        self.leg.send(self.srtp.protect_rtcp(b"".join(packets)))

    def of(self, payload_type: int) -> list[RtpPacket]:
        return [packet for packet in self.packets if packet.payload_type == payload_type]

    def receive(self, data: bytes, leg: Leg) -> None:
        if is_dtls(data):
            self.dtls.receive(data)
            self._flush(leg)
            if self.dtls.connected and self.srtp is None:
                self.take_keys()
        elif self.srtp is not None:
            if is_rtcp(data):
                self.control.extend(parse_compound(self.srtp.unprotect_rtcp(data)))
            else:
                self.packets.append(RtpPacket.parse(self.srtp.unprotect_rtp(data)))

    def close(self) -> None:
        for leg in self.legs:
            leg.close()

    def _flush(self, leg: Leg) -> None:
        for datagram in self.dtls.datagrams():
            leg.send(datagram)

    def take_keys(self) -> None:
        """Once the handshake is done."""
        selected = self.dtls.connection.get_selected_srtp_profile()
        self.profile = next(p for p, name in OPENSSL_PROFILES.items() if name == selected)
        client, server = self.dtls.keys(self.profile)
        self.srtp = SrtpSession(self.profile, local=client, remote=server)

    def _read_answer(self) -> None:
        found = {
            name: value
            for name, _, value in (line.partition(":") for line in self.answer.split("\r\n"))
        }
        self.remote = Credentials(found["a=ice-ufrag"], found["a=ice-pwd"])
        candidate = next(c for c in self.answer.split("\r\n") if c.startswith("a=candidate:1 "))
        self.server = ("127.0.0.1", int(candidate.split()[5]))


@asynccontextmanager
async def raw_viewer(
    where: Site, *, profiles: Sequence[SrtpProfile] = tuple(SrtpProfile)
) -> AsyncIterator[RawViewer]:
    """One that has posted its offer."""
    viewer = RawViewer(where, profiles=profiles)
    try:
        yield await viewer.post()
    finally:
        viewer.close()
