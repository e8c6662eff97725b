import random
import time

import pytest
from hypothesis import given, settings, strategies as st
from OpenSSL import SSL

from configs.kernel.errors import PeerError
from media.webrtc.certificate import Certificate, Fingerprint
from media.webrtc.dtls import (
    HANDSHAKE_TIMEOUT,
    MAX_HANDSHAKE_BYTES,
    MTU,
    ConnectionClosed,
    DtlsServer,
    DtlsState,
    HandshakeCompleted,
    is_dtls,
    server_context,
)
from media.webrtc.srtp import SrtpProfile
from tests.support.webrtc import OPENSSL_PROFILES, DtlsClient, new_certificate, shake_hands


@pytest.fixture(scope="module")
def context() -> SSL.Context:
    return server_context(new_certificate())


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((7, 8, 1), 7),
        ((1, 7), 7),
        ((1, 8), 8),
        ((8,), 8),
        ((1,), 1),
    ],
)
def test_gcm_is_preferred_and_both_sides_have_the_same_keys(
    context: SSL.Context, offered: tuple[int, ...], chosen: int
) -> None:
    client = DtlsClient([OPENSSL_PROFILES[SrtpProfile(number)] for number in offered])
    server = DtlsServer(context, [client.fingerprint], now=0.0)

    shake_hands(client, server)

    profile = SrtpProfile(chosen)
    theirs, ours = client.keys(profile)
    assert server.next_event() == HandshakeCompleted(profile, local=ours, remote=theirs)
    assert server.state is DtlsState.CONNECTED
    assert server.next_timer() is None


@pytest.mark.parametrize("profiles", [(), (b"SRTP_AES128_CM_SHA1_32",)])
def test_a_client_without_a_profile_of_ours_is_dropped(
    context: SSL.Context, profiles: tuple[bytes, ...]
) -> None:
    client = DtlsClient(profiles)
    server = DtlsServer(context, [client.fingerprint], now=0.0)

    with pytest.raises(PeerError) as caught:
        shake_hands(client, server)

    assert caught.value.code == "dtls_no_profile"
    assert server.state is DtlsState.CLOSED
    assert server.next_event() is None


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_any_of_the_offered_fingerprints_will_do(context: SSL.Context, algorithm: str) -> None:
    client = DtlsClient()
    other = new_certificate().fingerprint
    fits = Fingerprint.of(client.certificate.certificate, algorithm)
    server = DtlsServer(context, [other, fits], now=0.0)

    shake_hands(client, server)

    assert isinstance(server.next_event(), HandshakeCompleted)


def test_another_certificate_than_the_offers_is_dropped_with_an_alert(
    context: SSL.Context,
) -> None:
    client = DtlsClient()
    server = DtlsServer(context, [new_certificate().fingerprint], now=0.0)

    with pytest.raises(PeerError) as caught:
        shake_hands(client, server)

    assert caught.value.code == "dtls_fingerprint"
    assert server.next_event() is None
    for datagram in server.data_to_send():
        client.receive(datagram)
    client.advance()
    assert client.closed


def test_a_fingerprint_with_a_flipped_digit_does_not_fit(context: SSL.Context) -> None:
    client = DtlsClient()
    value = client.fingerprint.value
    flipped = ("1" if value[0] == "0" else "0") + value[1:]
    server = DtlsServer(context, [Fingerprint("sha-256", flipped)], now=0.0)

    with pytest.raises(PeerError):
        shake_hands(client, server)


def test_no_client_certificate_no_connection(context: SSL.Context) -> None:
    client = DtlsClient()
    bare = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    bare.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")
    client.connection = SSL.Connection(bare)
    client.connection.set_connect_state()
    server = DtlsServer(context, [client.fingerprint], now=0.0)

    with pytest.raises(PeerError) as caught:
        shake_hands(client, server)

    assert caught.value.code == "dtls_failed"


def test_handshake_has_ten_seconds(context: SSL.Context) -> None:
    server = DtlsServer(context, [], now=100.0)
    assert server.next_timer() == 100.0 + HANDSHAKE_TIMEOUT

    server.handle_timer(now=100.0 + HANDSHAKE_TIMEOUT - 0.01)
    with pytest.raises(PeerError) as caught:
        server.handle_timer(now=100.0 + HANDSHAKE_TIMEOUT)

    assert caught.value.code == "dtls_timeout"
    assert server.next_timer() is None


def test_a_flight_is_scheduled_to_be_sent_again(context: SSL.Context) -> None:
    client = DtlsClient()
    server = DtlsServer(context, [client.fingerprint], now=0.0)
    client.advance()
    for datagram in client.datagrams():
        server.receive_datagram(datagram, now=0.0)
    assert server.data_to_send()

    deadline = server.next_timer()

    assert deadline is not None
    assert 0.5 < deadline <= 1.0


def test_our_lost_last_flight_is_sent_again_when_the_client_repeats_its_own(
    context: SSL.Context,
) -> None:
    client = DtlsClient()
    server = DtlsServer(context, [client.fingerprint], now=0.0)
    client.advance()
    for datagram in client.datagrams():
        server.receive_datagram(datagram, now=0.0)
    for datagram in server.data_to_send():
        client.receive(datagram)
    last = client.datagrams()
    for datagram in last:
        server.receive_datagram(datagram, now=0.0)
    assert server.state is DtlsState.CONNECTED
    lost = server.data_to_send()
    assert lost

    # OpenSSL's own timer says when; it takes a second of real time.
    while not client.connection.DTLSv1_handle_timeout():
        time.sleep(0.02)
    for datagram in client.datagrams():
        server.receive_datagram(datagram, now=1.0)

    for datagram in server.data_to_send():
        client.receive(datagram)
    assert client.connected


def test_datagrams_are_whole_records_within_the_mtu(context: SSL.Context) -> None:
    client = DtlsClient()
    server = DtlsServer(context, [client.fingerprint], now=0.0)
    client.advance()
    for datagram in client.datagrams():
        server.receive_datagram(datagram, now=0.0)

    for datagram in server.data_to_send():
        assert is_dtls(datagram)
        assert len(datagram) <= MTU
        rest = datagram
        while rest:
            rest = rest[13 + int.from_bytes(rest[11:13], "big") :]


def test_an_empty_datagram_is_passed_over(context: SSL.Context) -> None:
    server = DtlsServer(context, [], now=0.0)

    server.receive_datagram(b"", now=0.0)

    assert server.state is DtlsState.HANDSHAKING
    assert server.data_to_send() == []


def test_closing_tells_the_client(context: SSL.Context) -> None:
    client = DtlsClient()
    server = DtlsServer(context, [client.fingerprint], now=0.0)
    shake_hands(client, server)

    server.close()

    for datagram in server.data_to_send():
        client.receive(datagram)
    assert client.closed


def test_the_clients_goodbye_is_an_event(context: SSL.Context) -> None:
    client = DtlsClient()
    server = DtlsServer(context, [client.fingerprint], now=0.0)
    shake_hands(client, server)
    server.next_event()

    client.connection.shutdown()
    for datagram in client.datagrams():
        server.receive_datagram(datagram, now=1.0)

    assert server.next_event() == ConnectionClosed()
    assert server.state is DtlsState.CLOSED


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=10))
def test_garbage_does_not_disturb_a_connection(blobs: list[bytes]) -> None:
    context = server_context(CERTIFICATE)
    client = DtlsClient(certificate=CERTIFICATE)
    server = DtlsServer(context, [client.fingerprint], now=0.0)
    shake_hands(client, server)
    server.next_event()

    for blob in blobs:
        server.receive_datagram(bytes([22]) + blob, now=1.0)

    assert server.state is DtlsState.CONNECTED
    assert server.next_event() is None


@settings(max_examples=30)
@given(st.integers(0, 1 << 32))
def test_mutated_handshakes_end_or_fail_cleanly(seed: int) -> None:
    rng = random.Random(seed)  # OpenSSL draws numbers, too, so the strategy cannot draw as it goes.
    context = server_context(CERTIFICATE)
    client = DtlsClient(certificate=CERTIFICATE)
    server = DtlsServer(context, [client.fingerprint], now=0.0)
    client.advance()
    try:
        for _ in range(6):
            for datagram in client.datagrams():
                changed = bytearray(datagram)
                for _ in range(rng.randrange(3)):
                    changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
                server.receive_datagram(bytes(changed), now=0.0)
            for datagram in server.data_to_send():
                client.receive(datagram)
    except PeerError:
        assert server.state is DtlsState.CLOSED


def test_a_handshake_may_not_go_on_for_ever(context: SSL.Context) -> None:
    server = DtlsServer(context, [], now=0.0)
    datagram = bytes([22]) + bytes(1023)
    for _ in range(MAX_HANDSHAKE_BYTES // len(datagram)):
        server.receive_datagram(datagram, now=0.0)

    with pytest.raises(PeerError):
        server.receive_datagram(datagram, now=0.0)

    assert server.state is DtlsState.CLOSED


CERTIFICATE: Certificate = new_certificate()
