import struct
from contextlib import suppress

import aioice.stun
import pytest
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.webrtc import stun
from media.webrtc.stun import Attribute, MessageClass

TRANSACTION = bytes(range(12))

attribute_lists = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF).filter(
            lambda kind: kind not in (Attribute.MESSAGE_INTEGRITY, Attribute.FINGERPRINT)
        ),
        st.binary(max_size=40),
    ),
    max_size=12,
)


@given(st.sampled_from(MessageClass), attribute_lists, st.binary(min_size=1, max_size=20))
def test_what_is_built_is_parsed(
    message_class: MessageClass, attributes: list[tuple[int, bytes]], password: bytes
) -> None:
    message = stun.parse(stun.build(message_class, TRANSACTION, attributes, password=password))

    assert message.message_class is message_class
    assert message.method == stun.BINDING
    assert message.transaction_id == TRANSACTION
    assert list(message.attributes) == attributes
    assert message.fingerprinted
    assert message.is_authentic(password)
    assert not message.is_authentic(password + b"x")


@given(st.integers(0, 0xFFF), st.sampled_from(MessageClass))
def test_method_and_class_survive_their_interleaving(
    method: int, message_class: MessageClass
) -> None:
    message = stun.parse(stun.build(message_class, TRANSACTION, method=method))

    assert (message.method, message.message_class) == (method, message_class)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_peer_error(data: bytes) -> None:
    with suppress(PeerError):
        assert stun.parse(data).raw == data


@given(st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    original = stun.build(
        MessageClass.REQUEST, TRANSACTION, ((Attribute.USERNAME, b"abc:def"),), password=b"secret"
    )
    position = data.draw(st.integers(0, len(original) * 8 - 1))
    changed = bytearray(original)
    changed[position // 8] ^= 1 << position % 8

    try:
        message = stun.parse(bytes(changed))
    except PeerError:
        return
    # The only bits not under the fingerprint's protection make it another attribute.
    assert not (message.fingerprinted and message.is_authentic(b"secret"))


def test_reads_what_another_implementation_writes() -> None:
    theirs = aioice.stun.Message(
        aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST, transaction_id=TRANSACTION
    )
    theirs.attributes["USERNAME"] = "local:remote"
    theirs.attributes["PRIORITY"] = 0x6E7F1EFF
    theirs.attributes["USE-CANDIDATE"] = None
    theirs.add_message_integrity(b"secret")

    message = stun.parse(bytes(theirs))

    assert message.get(Attribute.USERNAME) == b"local:remote"
    assert message.get(Attribute.PRIORITY) == struct.pack("!I", 0x6E7F1EFF)
    assert message.get(Attribute.USE_CANDIDATE) == b""
    assert message.is_authentic(b"secret")
    assert message.unknown == ()


@pytest.mark.parametrize(
    ("host", "told"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7"), ("::ffff:192.0.2.7", "192.0.2.7")],
)
def test_another_implementation_reads_what_we_write(host: str, told: str) -> None:
    mapped = stun.xor_mapped_address(host, 40_000, TRANSACTION)

    theirs = aioice.stun.parse_message(
        stun.build(
            MessageClass.SUCCESS,
            TRANSACTION,
            ((Attribute.XOR_MAPPED_ADDRESS, mapped),),
            password=b"secret",
        )
    )

    assert theirs.attributes["XOR-MAPPED-ADDRESS"] == (told, 40_000)


def test_rfc_5769_sample_request() -> None:
    sample = bytes.fromhex(
        "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
        "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020"
        "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
    )

    message = stun.parse(sample)

    assert message.get(Attribute.USERNAME) == b"evtj:h6vY"
    assert message.is_authentic(b"VOkJxbRl1RmTxUk/WvJxBt")


def test_attributes_after_the_integrity_are_not_trusted() -> None:
    signed = stun.build(MessageClass.REQUEST, TRANSACTION, password=b"secret")
    body = signed[20:-8] + struct.pack("!HH", Attribute.USE_CANDIDATE, 0)
    forged = struct.pack("!HHI12s", 1, len(body), stun.MAGIC_COOKIE, TRANSACTION) + body

    message = stun.parse(forged)

    assert message.is_authentic(b"secret")
    assert message.get(Attribute.USE_CANDIDATE) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(19),
        stun.build(MessageClass.REQUEST, TRANSACTION)[:-1],
        stun.build(MessageClass.REQUEST, TRANSACTION) + bytes(4),
        struct.pack("!HHI12s", 1, 0, 0x12345678, TRANSACTION),
        struct.pack("!HHI12sHH", 1, 4, stun.MAGIC_COOKIE, TRANSACTION, 6, 400),
        stun.build(MessageClass.REQUEST, TRANSACTION, [(0x8000, b"")] * 40),
        struct.pack("!HHI12sHHI", 1, 8, stun.MAGIC_COOKIE, TRANSACTION, 8, 4, 0),
    ],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        stun.parse(data)
