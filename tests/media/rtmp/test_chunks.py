"""The chunk stream: two ends of it, every header form, every cut."""

import pytest
from hypothesis import given, strategies as st

from media.rtmp.chunks import (
    MAX_CHUNK_STREAMS,
    MAX_SIGNAL_SIZE,
    ChunkError,
    ChunkReader,
    ChunkWriter,
    Message,
    MessageType,
)

LIMIT = 1 << 20


def reader() -> ChunkReader:
    return ChunkReader(max_message_size=LIMIT)


def picture(timestamp: int, size: int = 10, *, fill: int = 7, stream: int = 1) -> Message:
    return Message(MessageType.VIDEO, stream, timestamp, bytes([fill]) * size)


_messages = st.builds(
    Message,
    type=st.sampled_from([8, 9, 15, 18, 20, 22]),
    stream=st.sampled_from([0, 1, 7]),
    timestamp=st.integers(0, 2**32 - 1) | st.integers(0, 2000) | st.integers(0xFFFFF0, 0x1000010),
    payload=st.binary(max_size=700) | st.integers(0, 900).map(lambda size: b"\xc4" * size),
)


@given(
    st.lists(st.tuples(st.sampled_from([2, 3, 4, 6, 63, 64, 319, 320, 65599]), _messages)),
    st.sampled_from([1, 2, 100, 128, 4096, 65536]),
    st.lists(st.integers(0, 5000), max_size=5),
)
def test_reads_what_was_written_wherever_it_is_cut(
    sent: list[tuple[int, Message]], chunk_size: int, cuts: list[int]
) -> None:
    writer = ChunkWriter()
    size = Message(MessageType.SET_CHUNK_SIZE, 0, 0, chunk_size.to_bytes(4, "big"))
    stream = writer.write(2, size)
    writer.chunk_size = chunk_size
    stream += b"".join(writer.write(csid, message) for csid, message in sent)
    places = sorted(min(cut, len(stream)) for cut in cuts)

    receiver = reader()
    received = []
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        received += receiver.receive(stream[start:end])

    assert received == [size, *(message for _, message in sent)]


def test_every_byte_alone() -> None:
    writer = ChunkWriter()
    messages = [picture(0xFFFFFE + index * 3, 300) for index in range(5)]
    stream = b"".join(writer.write(4, message) for message in messages)

    receiver = reader()
    received = [m for at in range(len(stream)) for m in receiver.receive(stream[at : at + 1])]

    assert received == messages


@given(st.data())
def test_interleaved_messages_come_out_whole(data: st.DataObject) -> None:
    writer = ChunkWriter()
    messages = {csid: picture(csid, 1000 + csid, fill=csid) for csid in (4, 5, 6, 70)}
    chunks = {csid: list(writer.chunks(csid, message)) for csid, message in messages.items()}
    stream = b""
    while chunks:
        csid = data.draw(st.sampled_from(sorted(chunks)))
        stream += chunks[csid].pop(0)
        if not chunks[csid]:
            del chunks[csid]

    received = reader().receive(stream)

    assert sorted(received, key=lambda message: message.timestamp) == list(messages.values())


def test_headers_shrink_as_the_specification_shows() -> None:
    """RTMP 1.0, section 5.3.2.1: four messages of sound, 20 ms apart."""
    writer = ChunkWriter()
    sizes = [
        len(writer.write(3, Message(MessageType.AUDIO, 12345, 1000 + 20 * index, bytes(32))))
        for index in range(4)
    ]

    assert sizes == [44, 36, 33, 33]


def test_a_chunk_without_header_repeats_an_absolute_time_as_a_delta() -> None:
    absolute = bytes.fromhex("04 0003e8 000001 09 01000000 aa")

    received = reader().receive(absolute + b"\xc4\xbb")

    assert [message.timestamp for message in received] == [1000, 2000]


def test_extended_timestamps_are_repeated_in_continuations() -> None:
    big = 0x01020304
    writer = ChunkWriter()

    stream = writer.write(4, picture(big, 300))

    assert stream.count(big.to_bytes(4, "big")) == 3
    assert reader().receive(stream) == [picture(big, 300)]


def test_extended_timestamps_may_be_missing_from_continuations() -> None:
    """Encoders after an older reading of the specification leave them out."""
    big = 0x01020304
    header = bytes.fromhex("04 ffffff 00012c 09 01000000") + big.to_bytes(4, "big")
    body = bytes([7]) * 300

    stream = header + body[:128] + b"\xc4" + body[128:256] + b"\xc4" + body[256:]

    assert reader().receive(stream + ChunkWriter().write(3, picture(5))) == [
        picture(big, 300),
        picture(5),
    ]


def test_a_new_message_behind_an_extended_timestamp_has_it_too() -> None:
    stream = bytes.fromhex("04 ffffff 000001 09 01000000 01000000 aa c4 01000000 bb")

    assert [message.timestamp for message in reader().receive(stream)] == [1 << 24, 2 << 24]


def test_timestamps_wrap_at_32_bits() -> None:
    stream = bytes.fromhex("04 ffffff 000001 09 01000000 fffffff0 aa 84 000020 bb")

    assert [message.timestamp for message in reader().receive(stream)] == [0xFFFFFFF0, 0x10]


def test_abort_drops_what_was_begun() -> None:
    writer = ChunkWriter()
    begun = writer.chunks(4, picture(1, 300))[0]
    abort = Message(MessageType.ABORT, 0, 0, (4).to_bytes(4, "big"))

    received = reader().receive(begun + writer.write(2, abort) + writer.write(4, picture(2)))

    assert received == [abort, picture(2)]


def test_a_new_header_drops_what_was_begun() -> None:
    begun = ChunkWriter().chunks(4, picture(1, 300))[0]

    assert reader().receive(begun + ChunkWriter().write(4, picture(2))) == [picture(2)]


def test_an_empty_message_needs_no_further_byte() -> None:
    empty = Message(MessageType.AUDIO, 1, 5, b"")

    assert reader().receive(ChunkWriter().write(4, empty)) == [empty]


def test_a_first_header_without_stream_is_taken() -> None:
    """librtmp pings like that."""
    ping = bytes.fromhex("42 000000 000006 04 0006 00000001")

    assert reader().receive(ping) == [
        Message(MessageType.USER_CONTROL, 0, 0, bytes.fromhex("000600000001"))
    ]


@pytest.mark.parametrize(
    "hexed",
    [
        "84 000001 aa",  # continues a chunk stream that is not there
        "c4 aa",
        "02 000000 000004 01 00000000 00000000",  # chunks of nothing
        "02 000000 000002 01 00000000 0001",
        "04 000000 ffffff 09 01000000",  # longer than the limit
        "04 000000 ffffff 14 00000000",
    ],
)
def test_breaking_the_chunk_stream_is_the_peers_fault(hexed: str) -> None:
    with pytest.raises(ChunkError):
        reader().receive(bytes.fromhex(hexed))


def test_commands_have_a_lower_limit_than_pictures() -> None:
    size = MAX_SIGNAL_SIZE + 1
    accepted = picture(0, size)

    assert reader().receive(ChunkWriter().write(4, accepted)) == [accepted]
    with pytest.raises(ChunkError):
        reader().receive(ChunkWriter().write(4, Message(20, 0, 0, bytes(size))))


def test_chunk_streams_are_bounded() -> None:
    receiver = reader()
    for csid in range(2, 2 + MAX_CHUNK_STREAMS):
        receiver.receive(ChunkWriter().write(csid, picture(0)))

    with pytest.raises(ChunkError):
        receiver.receive(ChunkWriter().write(1000, picture(0)))


def test_messages_begun_at_once_are_bounded() -> None:
    receiver = reader()
    begun = [ChunkWriter().chunks(csid, picture(0, LIMIT))[0] for csid in (4, 5, 6)]
    receiver.receive(begun[0] + begun[1])

    with pytest.raises(ChunkError):
        receiver.receive(begun[2])


@given(st.binary(max_size=400))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    receiver = reader()
    try:
        received = receiver.receive(data)
    except ChunkError:
        return
    assert sum(len(message.payload) for message in received) <= len(data)
