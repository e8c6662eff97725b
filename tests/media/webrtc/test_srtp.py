"""SRTP against the RFCs' own vectors and against libsrtp."""

import random

import pytest
from hypothesis import given, settings, strategies as st
from pylibsrtp import Policy, Session

from configs.kernel.errors import PeerError
from media.rtp.layout import SendBuffer
from media.webrtc.srtp import (
    SrtpError,
    SrtpKeys,
    SrtpProfile,
    SrtpSession,
    keying_material_length,
    split_keying_material,
)
from media.webrtc.srtp_ciphers import (
    CmCipher,
    DirectionKeys,
    GcmCipher,
    RtpProtector,
    derive_key,
    derive_keys,
)
from tests.support.rtp import keys, session_pair

LIBSRTP = {
    SrtpProfile.AES128_CM_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    SrtpProfile.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    SrtpProfile.AEAD_AES_256_GCM: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
every_profile = pytest.mark.parametrize("profile", list(SrtpProfile))

RTP = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
RTCP = bytes.fromhex(
    "81c8000d4d6172734e5450314e545032525450200000042a0000e930"
    "4c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
)
QUID_PRO_QUO = b"Quid pro quo"


def libsrtp(profile: SrtpProfile, keys: SrtpKeys, direction: int) -> Session:
    return Session(
        Policy(key=keys.key + keys.salt, ssrc_type=direction, srtp_profile=LIBSRTP[profile])
    )


def rtp(sequence: int, *, ssrc: int = 0x1234, payload: bytes = b"payload") -> bytes:
    timestamp = sequence * 10 & 0xFFFFFFFF
    header = 0x8060 << 80 | (sequence & 0xFFFF) << 64 | timestamp << 32 | ssrc
    return header.to_bytes(12, "big") + payload


def seal(protector: RtpProtector, payloads: list[bytes], index: int) -> list[bytes]:
    """Packets of the hot path, with payload type 96 and the timestamp 777."""
    packets = []
    groups = SendBuffer().lay_out(payloads, overhead=protector.overhead, marker=False)
    for group in groups:
        protector.seal(group.slots, index, 96, 777)
        packets += [
            bytes(group.view[at : at + group.segment])
            for at in range(0, len(group.view), group.segment)
        ]
        index += len(group.slots)
    return packets


def test_derives_the_keys_of_rfc_3711_appendix_b_3() -> None:
    master = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
    salt = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")

    rtp_keys, _ = derive_keys(master, salt, auth_length=20, salt_length=14)

    assert rtp_keys.cipher == bytes.fromhex("C61E7A93744F39EE10734AFE3FF7A087")
    assert rtp_keys.salt == bytes.fromhex("30CBBC08863D8C85D49DB34A9AE1")
    assert rtp_keys.auth == bytes.fromhex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    assert derive_key(master, salt, 1, 94) == bytes.fromhex(
        "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578E"
        "F72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F"
        "34DB60DBDFB2"
    )


def test_makes_the_key_stream_of_rfc_3711_appendix_b_2() -> None:
    session = DirectionKeys(
        bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"),
        bytes(20),
        bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
    )
    cipher = CmCipher(session, session)

    stream = cipher.sender(0).protect(b"", bytes(48), 0)[:48]

    assert stream == bytes.fromhex(
        "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB"
        "41E95B3BB0A2E8DD477901E4FCA894C0"
    )


@pytest.mark.parametrize(
    ("key", "protected"),
    [
        (
            bytes(range(16)),
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
            "899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            bytes(range(32)),
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b"
            "7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ],
    ids=["16.1.1", "16.2.1"],
)
def test_protects_the_packet_of_rfc_7714_section_16(key: bytes, protected: str) -> None:
    session = DirectionKeys(key, b"", QUID_PRO_QUO)
    cipher = GcmCipher(session, session)
    expected = RTP[:12] + bytes.fromhex(protected)

    assert cipher.sender(0x5501A0B2).protect(RTP[:12], RTP[12:], 0xF17B) == expected
    assert cipher.unprotect_rtp(expected, 12, 0x5501A0B2, 0xF17B) == RTP


def test_protects_the_packet_of_rfc_7714_section_17_1() -> None:
    session = DirectionKeys(bytes(range(16)), b"", QUID_PRO_QUO)
    cipher = GcmCipher(session, session)
    expected = bytes.fromhex(
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda"
        "4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4"
    )

    assert cipher.protect_rtcp(RTCP, 0x5D4) == expected
    assert cipher.unprotect_rtcp(expected) == (RTCP, 0x5D4)


@every_profile
def test_exports_keys_in_the_order_of_rfc_5764(profile: SrtpProfile) -> None:
    material = bytes(range(keying_material_length(profile)))

    client, server = split_keying_material(profile, material)

    assert client.key + server.key + client.salt + server.salt == material
    assert len(client.key) == profile.key_length
    assert len(server.salt) == profile.salt_length
    with pytest.raises(ValueError, match="wrong length"):
        split_keying_material(profile, material[1:])


def test_keys_do_not_show_themselves() -> None:
    shown = repr(SrtpKeys(b"topsecretkey", b"topsecretsalt"))

    assert "secret" not in shown


@every_profile
def test_libsrtp_reads_70000_packets_over_the_wrap(profile: SrtpProfile) -> None:
    protector = session_pair(profile)[0].sender(0x1234)
    reader = libsrtp(profile, keys(profile, 1), Policy.SSRC_ANY_INBOUND)

    for first in range(1000, 71_000, 50):
        sealed = seal(protector, [b"a"] * 49 + [b""], first)
        for number, packet in enumerate(sealed, start=first):
            plain = reader.unprotect(packet)
            assert int.from_bytes(plain[2:4], "big") == number & 0xFFFF
            assert plain[12:] == (b"a" if number < first + 49 else b"")


@every_profile
def test_reads_packets_of_libsrtp_over_two_wraps(profile: SrtpProfile) -> None:
    session = session_pair(profile)[0]
    writer = libsrtp(profile, keys(profile, 2), Policy.SSRC_ANY_OUTBOUND)

    for number in (*range(65_000, 66_000), *range(98_000, 99_000), *range(130_900, 131_300)):
        packet = rtp(number)
        assert session.unprotect_rtp(writer.protect(packet)) == packet


@every_profile
def test_a_viewer_who_joins_late_reads_its_own_fresh_numbers(profile: SrtpProfile) -> None:
    """Every viewer has its own source and counter, so there is no roll-over counter to be told."""
    server, viewer = session_pair(profile)
    early = server.sender(1)
    for index in range(65_500, 65_600):
        viewer.unprotect_rtp(seal(early, [b"early"], index)[0])

    late = seal(server.sender(2), [b"late"], 30_000)

    assert viewer.unprotect_rtp(late[0])[12:] == b"late"


@every_profile
@given(
    payloads=st.lists(st.binary(min_size=1, max_size=1200), min_size=1, max_size=70), data=st.data()
)
@settings(max_examples=20, deadline=None)
def test_the_hot_path_writes_what_the_plain_one_does(
    profile: SrtpProfile, payloads: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, (1 << 48) - 100))
    protector = session_pair(profile)[0].sender(0xCAFE)

    sealed = seal(protector, payloads, index)

    expected = []
    for number, payload in enumerate(payloads, start=index):
        header = 0x8060 << 80 | (number & 0xFFFF) << 64 | 777 << 32 | 0xCAFE
        expected.append(protector.protect(header.to_bytes(12, "big"), payload, number))
    assert sealed == expected


@every_profile
def test_control_packets_pass_between_us_and_libsrtp(profile: SrtpProfile) -> None:
    session = session_pair(profile)[0]
    writer = libsrtp(profile, keys(profile, 2), Policy.SSRC_ANY_OUTBOUND)
    reader = libsrtp(profile, keys(profile, 1), Policy.SSRC_ANY_INBOUND)

    for _ in range(3):
        assert session.unprotect_rtcp(writer.protect_rtcp(RTCP)) == RTCP
        assert reader.unprotect_rtcp(session.protect_rtcp(RTCP)) == RTCP


@every_profile
def test_a_packet_grows_by_its_tag_alone(profile: SrtpProfile) -> None:
    server, _ = session_pair(profile)
    protector = server.sender(1)

    assert len(protector.protect(RTP[:12], RTP[12:], 1)) == len(RTP) + protector.overhead
    assert protector.overhead == (10 if profile is SrtpProfile.AES128_CM_SHA1_80 else 16)
    assert len(server.protect_rtcp(RTCP)) == len(RTCP) + protector.overhead + 4


@every_profile
def test_a_flipped_bit_anywhere_is_dropped_and_changes_nothing(profile: SrtpProfile) -> None:
    server, viewer = session_pair(profile)
    packet = seal(server.sender(0x1234), [b"payload"], 5)[0]
    control = server.protect_rtcp(RTCP)

    for bit in range(len(packet) * 8):
        broken = bytearray(packet)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SrtpError):
            viewer.unprotect_rtp(bytes(broken))
    for bit in range(len(control) * 8):
        broken = bytearray(control)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SrtpError):
            viewer.unprotect_rtcp(bytes(broken))

    assert viewer.unprotect_rtp(packet)[12:] == b"payload"
    assert viewer.unprotect_rtcp(control) == RTCP


@every_profile
def test_a_replayed_packet_is_dropped(profile: SrtpProfile) -> None:
    server, viewer = session_pair(profile)
    protector = server.sender(0x1234)
    order = [5, 3, 4, 900, 899, 6]
    packets = [seal(protector, [b"x"], index)[0] for index in order]

    for packet in packets:
        viewer.unprotect_rtp(packet)

    for packet in packets:
        with pytest.raises(SrtpError, match="seen before"):
            viewer.unprotect_rtp(packet)
    control = server.protect_rtcp(RTCP)
    viewer.unprotect_rtcp(control)
    with pytest.raises(SrtpError, match="seen before"):
        viewer.unprotect_rtcp(control)


def test_a_packet_older_than_the_window_is_dropped() -> None:
    server, viewer = session_pair()
    protector = server.sender(0x1234)
    viewer.unprotect_rtp(seal(protector, [b"new"], 5000)[0])

    with pytest.raises(SrtpError, match="too old"):
        viewer.unprotect_rtp(seal(protector, [b"old"], 5000 - 1024)[0])

    assert viewer.unprotect_rtp(seal(protector, [b"old"], 5000 - 1023)[0])[12:] == b"old"


def test_follows_the_counter_through_reordering_at_the_wrap() -> None:
    server, viewer = session_pair()
    protector = server.sender(0x1234)
    order = [65_530, 65_537, 65_535, 65_536, 65_534, 65_600]

    for index in order:
        plain = viewer.unprotect_rtp(seal(protector, [bytes((index & 0xFF,))], index)[0])
        assert plain[12:] == bytes((index & 0xFF,))


def test_one_peer_may_not_fill_our_memory_with_sources() -> None:
    server, viewer = session_pair()
    for ssrc in range(64):
        viewer.unprotect_rtp(server.sender(ssrc).protect(rtp(1, ssrc=ssrc)[:12], b"x", 1))

    with pytest.raises(SrtpError, match="too many"):
        viewer.unprotect_rtp(server.sender(64).protect(rtp(1, ssrc=64)[:12], b"x", 1))


def test_an_unencrypted_control_packet_is_refused() -> None:
    _, viewer = session_pair()

    with pytest.raises(SrtpError, match="not encrypted"):
        viewer.unprotect_rtcp(RTCP + bytes(20))


@every_profile
@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_random_bytes_are_the_peers_fault(profile: SrtpProfile, data: bytes) -> None:
    _, viewer = session_pair(profile)

    with pytest.raises(PeerError):
        viewer.unprotect_rtp(data)
    with pytest.raises(PeerError):
        viewer.unprotect_rtcp(data)


def test_a_session_wants_keys_of_its_profile() -> None:
    good = SrtpKeys(bytes(16), bytes(12))
    with pytest.raises(ValueError, match="wrong length"):
        SrtpSession(SrtpProfile.AEAD_AES_256_GCM, local=good, remote=good)


def test_extensions_and_sources_in_the_header_stay_in_clear() -> None:
    writer = libsrtp(
        SrtpProfile.AEAD_AES_128_GCM,
        keys(SrtpProfile.AEAD_AES_128_GCM, 2),
        Policy.SSRC_ANY_OUTBOUND,
    )
    session = session_pair()[0]
    source = random.Random(3)
    head = bytes.fromhex("926000010000000000001234aaaaaaaabbbbbbbbbede000151e00000")
    packet = head + source.randbytes(30)

    assert session.unprotect_rtp(writer.protect(packet)) == packet
