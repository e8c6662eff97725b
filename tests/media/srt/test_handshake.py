import pytest
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.srt.handshake import (
    CONCLUSION,
    COOKIE_LIFE_S,
    Capabilities,
    Cookies,
    ExtensionType,
    Handshake,
    Rejection,
    decode_text,
    encode_ip,
    encode_text,
    extension_flags,
    rejection_kind,
)

WORDS = st.integers(0, 0xFFFF_FFFF)
ADDRESS = ("198.51.100.7", 5000)


@given(
    st.builds(
        Handshake,
        version=st.just(5),
        kind=st.just(CONCLUSION),
        socket_id=WORDS,
        cookie=WORDS,
        initial_sequence=st.integers(0, 0x7FFF_FFFF),
        encryption=st.integers(0, 4),
        flags=st.integers(0, 7),
        peer_ip=st.binary(min_size=16, max_size=16),
        extensions=st.dictionaries(
            st.sampled_from(ExtensionType),
            st.binary(max_size=40).map(lambda b: b + bytes(-len(b) % 4)),
        ),
    )
)
def test_handshakes_survive_the_wire(handshake: Handshake) -> None:
    assert Handshake.parse(handshake.serialize()) == handshake


@given(st.binary(max_size=600))
def test_random_bodies_are_handshakes_or_peer_errors(body: bytes) -> None:
    for data in (body, Handshake(5, CONCLUSION, 1).serialize() + body):
        try:
            Handshake.parse(data)
        except PeerError:
            continue


def test_an_extension_that_is_cut_off_is_refused() -> None:
    with pytest.raises(PeerError):
        Handshake.parse(Handshake(5, CONCLUSION, 1).serialize() + b"\0\5\0\2abcd")


def test_a_stream_id_stands_in_little_endian_words() -> None:
    assert encode_text("STREAM") == b"ERTS\0\0MA"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=512))
def test_texts_survive_the_wire(text: str) -> None:
    assert decode_text(encode_text(text)) == text


def test_a_stream_id_that_is_no_text_is_refused() -> None:
    with pytest.raises(PeerError):
        decode_text(b"\xff\xff\xff\xff")


def test_delays_are_milliseconds_of_receiver_and_sender() -> None:
    body = Capabilities(0x010503, 0x3F, 800, 120).serialize()

    assert body == bytes.fromhex("00010503 0000003f 0320 0078")
    assert Capabilities.parse(body).receiver_delay == 800


@pytest.mark.parametrize(
    ("code", "kind"),
    [(Rejection.BADSECRET, 1010), (Rejection.UNAUTHORIZED, 2401), (Rejection.CONFLICT, 2409)],
)
def test_a_rejection_is_a_thousand_higher_on_the_wire(code: Rejection, kind: int) -> None:
    assert rejection_kind(code) == kind
    assert Handshake.parse(Handshake(5, kind, 1).serialize()).rejection == code


def test_a_conclusion_is_no_rejection() -> None:
    assert Handshake(5, CONCLUSION, 1).rejection is None


def test_flags_name_the_extensions() -> None:
    kinds = (ExtensionType.HSREQ, ExtensionType.KMREQ, ExtensionType.SID)

    assert [extension_flags({kind: b""}) for kind in kinds] == [1, 2, 4]
    assert extension_flags(dict.fromkeys(kinds, b"")) == 7


@pytest.mark.parametrize(
    ("host", "field"),
    [
        ("127.0.0.1", "0100007f" + "00" * 12),
        ("2001:db8::1", "b80d0120" + "00" * 8 + "01000000"),
        ("fe80::1%eth0", "000080fe" + "00" * 8 + "01000000"),
    ],
)
def test_addresses_are_written_word_by_word_in_reverse(host: str, field: str) -> None:
    assert encode_ip(host).hex() == field


def test_a_cookie_holds_for_its_address_and_for_a_while() -> None:
    cookies = Cookies(b"secret")
    cookie = cookies.issue(ADDRESS, now=100.0)

    assert cookies.check(cookie, ADDRESS, now=100.0 + COOKIE_LIFE_S)
    assert not cookies.check(cookie, ADDRESS, now=100.0 + 2 * COOKIE_LIFE_S)
    assert not cookies.check(cookie, ("198.51.100.7", 5001), now=100.0)
    assert not cookies.check(cookie, ("198.51.100.8", 5000), now=100.0)
    assert not Cookies(b"other").check(cookie, ADDRESS, now=100.0)
