"""Where packets lie in the buffer, and what the kernel may be given in one call."""

from hypothesis import given, strategies as st

from media.rtp.layout import (
    HEADER,
    MAX_GROUP,
    MAX_PAYLOAD,
    MAX_SEGMENTS,
    SendBuffer,
    equal_runs,
    equal_size,
)

fragments = st.lists(
    st.one_of(st.integers(1, 1400), st.just(MAX_PAYLOAD), st.just(500)), min_size=1, max_size=200
).map(lambda sizes: [bytes(size) for size in sizes])


@given(fragments, st.sampled_from((10, 16)))
def test_every_run_can_be_cut_by_the_kernel(payloads: list[bytes], overhead: int) -> None:
    runs = equal_runs(payloads, overhead=overhead)

    assert [number for run in runs for number in run] == list(range(len(payloads)))
    for run in runs:
        lengths = [HEADER + len(payloads[number]) + overhead for number in run]
        assert len(set(lengths[:-1])) <= 1
        assert lengths[-1] <= lengths[0]
        assert len(run) <= MAX_SEGMENTS
        assert sum(lengths) <= MAX_GROUP


def test_a_frame_of_equal_packets_is_one_run() -> None:
    payloads = [bytes(1000)] * 9 + [bytes(400)]

    assert equal_runs(payloads, overhead=16) == [range(10)]


def test_a_run_ends_after_its_first_shorter_packet() -> None:
    payloads = [bytes(size) for size in (60, 1000, 1000, 400, 400, 1000)]

    assert equal_runs(payloads, overhead=16) == [range(1), range(1, 4), range(4, 5), range(5, 6)]


@given(fragments, st.sampled_from((10, 16)), st.booleans())
def test_slots_lie_edge_to_edge(payloads: list[bytes], overhead: int, marker: bool) -> None:
    groups = SendBuffer().lay_out(payloads, overhead=overhead, marker=marker)

    slots = [slot for group in groups for slot in group.slots]
    assert [payload for _, payload, *_ in slots] == payloads
    assert [flags for flags, *_ in slots] == [0x8000] * (len(slots) - 1) + [
        0x8080 if marker else 0x8000
    ]
    for group in groups:
        for number, (_, payload, header, body, signed, tag) in enumerate(group.slots):
            header[:] = bytes((number + 1,)) * HEADER
            body[:] = b"b" * len(body)
            tag[:] = b"t" * overhead
            assert len(body) == len(payload) + overhead
            assert bytes(signed[:HEADER]) == bytes(header)
            assert len(signed) == HEADER + len(payload) + 4
        written = b"".join(
            bytes((number + 1,)) * HEADER + b"b" * len(payload) + b"t" * overhead
            for number, (_, payload, *_) in enumerate(group.slots)
        )
        assert bytes(group.view) == written
        assert group.segment == len(group.slots[0][2]) + len(group.slots[0][3])


@given(st.integers(1, 100_000), st.integers(1, 1400))
def test_equal_pieces_are_as_few_as_can_be(length: int, most: int) -> None:
    size = equal_size(length, most)

    pieces = -(-length // size)
    assert size <= most
    assert pieces == -(-length // most)
    assert 0 < length - (pieces - 1) * size <= size
