import math
import struct

import pytest
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.units import AccessUnit, Codec, Track, TrackId
from transcoder.wire import (
    MAX_JOBS,
    MAX_MESSAGE,
    MAX_TEXT,
    Decoder,
    Finish,
    Heartbeat,
    JobStats,
    Message,
    Remark,
    SourceGap,
    StartJob,
    StopJob,
    encode,
)

ids = st.text(max_size=60).map(TrackId)
counts = st.integers(0, 2**64 - 1)
ticks = st.integers(-(2**63), 2**63 - 1)
u32 = st.integers(0, 2**32 - 1)
rates = st.floats(allow_nan=False)
codecs = st.sampled_from(Codec)
jobs = st.builds(
    JobStats,
    target=ids,
    units_in=counts,
    units_out=counts,
    dropped=counts,
    errors=counts,
    queued=u32,
    lag_ms=st.integers(-(2**31), 2**31 - 1),
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(AccessUnit, ids, ticks, ticks, st.booleans(), st.binary(max_size=300)),
    st.builds(
        Track, ids, codecs, st.binary(max_size=60), u32, u32, rates, u32, st.integers(0, 255)
    ),
    st.builds(StartJob, ids, ids, codecs, ticks),
    st.builds(StopJob, ids),
    st.just(SourceGap()),
    st.just(Finish()),
    st.builds(Heartbeat, rates, counts, st.lists(jobs, max_size=4).map(tuple)),
    st.builds(Remark, st.text(max_size=40), st.text(max_size=300)),
)


def everything(decoder: Decoder) -> list[Message]:
    found = []
    while (message := decoder.next_event()) is not None:
        found.append(message)
    return found


@given(st.lists(messages, max_size=6), st.integers(1, 50))
def test_every_message_arrives_as_it_was_in_any_portions(sent: list[Message], size: int) -> None:
    data = b"".join(encode(message) for message in sent)
    decoder = Decoder()
    received = []

    for at in range(0, len(data), size):
        decoder.receive(data[at : at + size])
        received += everything(decoder)

    assert received == sent


@given(st.binary(max_size=400))
def test_garbage_is_the_peers_fault(data: bytes) -> None:
    decoder = Decoder()
    decoder.receive(data)

    try:
        found = everything(decoder)
    except PeerError:
        return
    assert all(isinstance(message, Message) for message in found)


@given(messages, st.data())
def test_a_message_with_a_wrong_byte_is_another_message_or_the_peers_fault(
    message: Message, data: st.DataObject
) -> None:
    mutated = bytearray(encode(message))
    at = data.draw(st.integers(4, len(mutated) - 1))
    mutated[at] = data.draw(st.integers(0, 255))
    decoder = Decoder()
    decoder.receive(bytes(mutated))

    try:
        found = decoder.next_event()
    except PeerError:
        return
    assert isinstance(found, Message)


@pytest.mark.parametrize("size", [0, MAX_MESSAGE + 1, 2**32 - 1])
def test_refuses_a_length_out_of_bounds_before_the_body_comes(size: int) -> None:
    decoder = Decoder()
    decoder.receive(struct.pack(">I", size))

    with pytest.raises(PeerError):
        decoder.next_event()


def test_refuses_to_write_what_could_not_be_read() -> None:
    unit = AccessUnit(TrackId("video"), 0, 0, True, bytes(MAX_MESSAGE))

    with pytest.raises(ValueError, match="too large"):
        encode(unit)
    with pytest.raises(ValueError, match="too many"):
        encode(Heartbeat(0.0, 0, (JobStats(TrackId("x"), 0, 0, 0, 0, 0, 0),) * (MAX_JOBS + 1)))
    with pytest.raises(ValueError, match="255"):
        encode(StopJob(TrackId("x" * 256)))


def test_a_long_remark_is_cut() -> None:
    decoder = Decoder()
    decoder.receive(encode(Remark("event", "ä" * MAX_TEXT)))

    remark = decoder.next_event()

    assert isinstance(remark, Remark)
    assert remark.text == "ä" * (MAX_TEXT // 2)


def test_a_frame_rate_without_sense_survives_as_it_is() -> None:
    decoder = Decoder()
    decoder.receive(encode(Track(TrackId("video"), Codec.H264, b"", frame_rate=math.inf)))

    track = decoder.next_event()

    assert isinstance(track, Track)
    assert track.frame_rate == math.inf
