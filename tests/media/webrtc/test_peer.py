"""The transport of one viewer in virtual time."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st
from OpenSSL import SSL

from media.rtp.rtcp import PictureLoss, ReceiverReport
from media.webrtc import stun
from media.webrtc.certificate import Certificate, Fingerprint
from media.webrtc.dtls import server_context
from media.webrtc.ice import (
    CONSENT_TIMEOUT,
    FIRST_CHECK_TIMEOUT,
    Credentials,
    IceAgent,
    Path,
)
from media.webrtc.peer import (
    CONNECT_TIMEOUT,
    ControlReceived,
    PathChanged,
    Peer,
    PeerClosed,
    PeerEvent,
    Ready,
)
from media.webrtc.srtp import SrtpProfile, SrtpSession
from tests.support.webrtc import DtlsClient, check, new_certificate

LOCAL = Credentials("serverufrag", "serverpasswordserverpassword")
HOME = Path("192.0.2.1", 1111)
AWAY = Path("198.51.100.1", 2222)
CERTIFICATE: Certificate = new_certificate()
CONTEXT: SSL.Context = server_context(CERTIFICATE)


class Wire:
    """A peer and its client, joined without loss."""

    def __init__(self, *, fingerprint: Fingerprint | None = None) -> None:
        self.client = DtlsClient(certificate=CERTIFICATE)
        self.peer = Peer(
            IceAgent(LOCAL, "clnt", now=0.0),
            CONTEXT,
            [fingerprint or self.client.fingerprint],
        )

    def ask(self, path: Path = HOME, *, now: float = 0.0, nominate: bool = True) -> None:
        message = stun.parse(check(LOCAL, "clnt", nominate=nominate))
        assert self.peer.receive_check(message, path, now=now)

    def shake(self, path: Path = HOME, *, now: float = 0.0) -> None:
        self.client.advance()
        for _ in range(6):
            for datagram in self.client.datagrams():
                self.peer.receive_datagram(datagram, path, now=now)
            for _, datagram in self.peer.data_to_send():
                if not stun.is_stun(datagram):
                    self.client.receive(datagram)

    def events(self) -> Iterator[PeerEvent]:
        while (event := self.peer.next_event()) is not None:
            yield event

    def client_session(self) -> SrtpSession:
        client, server = self.client.keys(SrtpProfile.AEAD_AES_128_GCM)
        return SrtpSession(SrtpProfile.AEAD_AES_128_GCM, local=client, remote=server)


@pytest.mark.parametrize("nominate_first", [True, False])
def test_is_ready_when_both_path_and_keys_are_there(nominate_first: bool) -> None:
    wire = Wire()
    wire.ask(nominate=nominate_first)
    wire.shake()
    if not nominate_first:
        assert not any(isinstance(event, Ready) for event in wire.events())
        wire.ask()

    kinds = [type(event) for event in wire.events()]

    assert kinds == [PathChanged, Ready]
    assert wire.peer.profile is SrtpProfile.AEAD_AES_128_GCM


def test_dtls_from_where_no_check_came_is_not_answered() -> None:
    wire = Wire()
    wire.ask(HOME)
    wire.peer.data_to_send()

    wire.shake(AWAY)

    assert not wire.client.connected
    assert wire.peer.discarded > 0


def test_control_packets_are_decrypted_and_read() -> None:
    wire = Wire()
    wire.ask()
    wire.shake()
    list(wire.events())
    report, loss = ReceiverReport(1), PictureLoss(1, 2)
    packet = wire.client_session().protect_rtcp(report.serialize() + loss.serialize())

    wire.peer.receive_datagram(packet, HOME, now=1.0)

    assert list(wire.events()) == [ControlReceived((report, loss))]


def test_a_replayed_control_packet_is_discarded() -> None:
    wire = Wire()
    wire.ask()
    wire.shake()
    packet = wire.client_session().protect_rtcp(ReceiverReport(1).serialize())
    wire.peer.receive_datagram(packet, HOME, now=1.0)
    list(wire.events())

    wire.peer.receive_datagram(packet, HOME, now=1.0)

    assert list(wire.events()) == []
    assert wire.peer.discarded == 1


def test_silence_of_thirty_seconds_is_the_end() -> None:
    wire = Wire()
    wire.ask(now=0.0)
    wire.shake(now=0.0)
    for second in (5.0, 10.0, 15.0):
        wire.ask(now=second)
    list(wire.events())
    assert wire.peer.next_timer() == 15.0 + CONSENT_TIMEOUT

    wire.peer.handle_timer(now=44.9)
    assert list(wire.events()) == []
    wire.peer.handle_timer(now=45.0)

    (closed,) = wire.events()
    assert isinstance(closed, PeerClosed)
    assert closed.code == "consent_expired"
    assert wire.peer.next_timer() is None


def test_media_control_is_no_consent() -> None:
    wire = Wire()
    wire.ask()
    wire.shake()
    list(wire.events())
    session = wire.client_session()
    for second in range(1, 30):
        packet = session.protect_rtcp(ReceiverReport(1).serialize())
        wire.peer.receive_datagram(packet, HOME, now=float(second))

    wire.peer.handle_timer(now=30.0)

    assert [e.code for e in wire.events() if isinstance(e, PeerClosed)] == ["consent_expired"]


def test_an_offer_that_nobody_follows_up_is_forgotten() -> None:
    wire = Wire()

    wire.peer.handle_timer(now=FIRST_CHECK_TIMEOUT)

    assert [e.code for e in wire.events() if isinstance(e, PeerClosed)] == ["ice_timeout"]


def test_checks_without_a_handshake_do_not_go_on_for_ever() -> None:
    wire = Wire()
    for second in range(10):
        wire.ask(now=float(second))

    assert wire.peer.next_timer() == CONNECT_TIMEOUT
    wire.peer.handle_timer(now=CONNECT_TIMEOUT)

    assert [e.code for e in wire.events() if isinstance(e, PeerClosed)] == ["dtls_timeout"]


def test_another_certificate_closes_with_an_alert() -> None:
    wire = Wire(fingerprint=new_certificate().fingerprint)
    wire.ask()
    wire.shake()

    closed = [event for event in wire.events() if isinstance(event, PeerClosed)]
    assert [event.code for event in closed] == ["dtls_fingerprint"]
    assert wire.peer.profile is None
    wire.client.advance()
    assert wire.client.closed


def test_our_goodbye_goes_to_the_nominated_path() -> None:
    wire = Wire()
    wire.ask(AWAY, nominate=False)
    wire.ask(HOME)
    wire.shake(AWAY)
    wire.peer.data_to_send()

    wire.peer.close()

    assert [path for path, _ in wire.peer.data_to_send()] == [HOME]
    assert wire.peer.next_timer() is None


def test_after_the_end_nothing_is_answered() -> None:
    wire = Wire()
    wire.ask()
    wire.peer.data_to_send()
    wire.peer.close()

    assert not wire.peer.receive_check(stun.parse(check(LOCAL, "clnt")), HOME, now=1.0)
    wire.shake()
    assert wire.peer.data_to_send() == []


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=120), max_size=20))
def test_nothing_that_arrives_ends_a_connected_peer(blobs: list[bytes]) -> None:
    wire = Wire()
    wire.ask()
    wire.shake()
    list(wire.events())

    for blob in blobs:
        wire.peer.receive_datagram(blob, HOME, now=1.0)

    assert list(wire.events()) == []
    assert not wire.peer.closed
