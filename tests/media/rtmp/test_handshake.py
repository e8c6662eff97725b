import pytest
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.rtmp.handshake import (
    CLIENT_KEY,
    DIGEST_SIZE,
    SERVER_ANSWER_KEY,
    SERVER_KEY,
    SIZE,
    ClientHandshake,
    Rest,
    Schema,
    ServerHandshake,
    answer,
    find_digest,
    sign,
)
from tests.support.rtmp import entropy


@pytest.mark.parametrize("schema", [None, *Schema])
def test_both_ends_agree(schema: Schema | None) -> None:
    client, server = ClientHandshake(entropy, schema=schema), ServerHandshake(entropy)

    assert server.receive(client.data_to_send()) is None
    assert client.receive(server.data_to_send()) == Rest(b"")
    assert server.receive(client.data_to_send() + b"next") == Rest(b"next")
    assert server.schema is schema


def test_the_plain_answer_repeats_what_the_client_sent() -> None:
    first = bytes(8) + entropy(SIZE - 8)
    server = ServerHandshake(entropy)

    server.receive(b"\x03" + first)

    reply = server.data_to_send()
    assert len(reply) == 1 + 2 * SIZE
    assert reply[0] == 3
    assert reply[1 + SIZE :] == first


@pytest.mark.parametrize("schema", list(Schema))
def test_the_signed_answer_proves_itself(schema: Schema) -> None:
    first = sign(bytes(4) + b"\x09\x00\x7c\x02" + entropy(SIZE - 8), schema, CLIENT_KEY)
    server = ServerHandshake(entropy)

    server.receive(b"\x03" + first)

    reply = server.data_to_send()
    found = find_digest(reply[1 : 1 + SIZE], SERVER_KEY)
    at = schema.digest_at(first)
    second = reply[1 + SIZE :]
    assert found is not None
    assert found[0] is schema
    assert second == answer(first[at : at + DIGEST_SIZE], second, SERVER_ANSWER_KEY)


def test_a_version_without_a_digest_gets_the_plain_answer() -> None:
    first = bytes(4) + b"\x09\x00\x7c\x02" + entropy(SIZE - 8)
    server = ServerHandshake(entropy)

    server.receive(b"\x03" + first)

    assert server.data_to_send()[1 + SIZE :] == first
    assert server.schema is None


@pytest.mark.parametrize("first", [b"\x06", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01"])
def test_another_protocol_is_refused_at_its_first_byte(first: bytes) -> None:
    with pytest.raises(PeerError):
        ServerHandshake(entropy).receive(first)


def test_a_client_refuses_an_answer_for_somebody_else() -> None:
    client = ClientHandshake(entropy, schema=Schema.KEY_FIRST)
    server = ServerHandshake(entropy)
    server.receive(
        b"\x03" + sign(b"\0\0\0\0\1\1\1\1" + bytes(SIZE - 8), Schema.KEY_FIRST, CLIENT_KEY)
    )

    with pytest.raises(PeerError):
        client.receive(server.data_to_send())


@given(st.lists(st.integers(0, 2 * SIZE + 10), max_size=6), st.sampled_from([None, *Schema]))
def test_cuts_do_not_matter(cuts: list[int], schema: Schema | None) -> None:
    client = ClientHandshake(entropy, schema=schema)
    stream = client.data_to_send() + entropy(SIZE) + b"behind it"
    server = ServerHandshake(entropy)
    places = sorted(cuts)

    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    rests = [rest for piece in pieces if (rest := server.receive(piece)) is not None]

    assert len(rests) == 1
    assert b"behind it".startswith(rests[0].data)
    assert server.schema is schema
