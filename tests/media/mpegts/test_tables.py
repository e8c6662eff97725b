import pytest
from hypothesis import given, strategies as st

from media.errors import InvalidBitstream
from media.mpegts.tables import (
    Descriptor,
    Entry,
    Pmt,
    Sections,
    crc32,
    parse_pat,
    parse_pmt,
    pat,
    pmt,
)
from tests.support.mpegts import section_payload

pids = st.integers(0x10, 0x1FFE)
descriptors = st.lists(
    st.builds(Descriptor, tag=st.integers(0, 255), data=st.binary(max_size=20)), max_size=3
).map(tuple)
tables = st.builds(
    Pmt,
    programme=st.integers(1, 0xFFFF),
    pcr_pid=pids,
    entries=st.lists(
        st.builds(Entry, stream_type=st.integers(0, 255), pid=pids, descriptors=descriptors),
        max_size=8,
    ).map(tuple),
)


def test_crc_of_the_standards_check_string() -> None:
    assert crc32(b"123456789") == 0x0376E6E7


@given(tables, st.integers(0, 31))
def test_programme_maps_read_back(table: Pmt, version: int) -> None:
    section = pmt(table, version=version)

    assert crc32(section) == 0
    assert parse_pmt(section) == table


def test_the_first_programme_counts_and_the_network_is_none() -> None:
    assert parse_pat(pat({0: 0x10, 5: 0x100, 6: 0x200})) == (5, 0x100)
    assert parse_pat(pat({0: 0x10})) is None


def test_tables_not_yet_in_force_are_left_out() -> None:
    for table, parse in ((pat({1: 0x100}), parse_pat), (pmt(Pmt(1, 0x100, ())), parse_pmt)):
        later = bytearray(table)
        later[5] &= 0xFE
        assert parse(bytes(later)) is None


def test_tables_of_another_kind_are_left_out() -> None:
    assert parse_pat(pmt(Pmt(1, 0x100, ()))) is None
    assert parse_pmt(pat({1: 0x100})) is None


def test_an_entry_longer_than_its_table_is_refused() -> None:
    section = bytearray(pmt(Pmt(1, 0x100, (Entry(0x1B, 0x100),))))
    section[-5] = 9

    with pytest.raises(InvalidBitstream):
        parse_pmt(bytes(section))


@given(st.binary(min_size=3, max_size=200))
def test_garbage_sections_are_refused_or_read(section: bytes) -> None:
    parse_pat(section)
    try:
        parse_pmt(b"\x02" + section)
    except InvalidBitstream:
        return


def collect(*payloads: tuple[bytes, bool]) -> tuple[list[bytes], Sections]:
    found: list[bytes] = []
    sections = Sections(found.append)
    for data, start in payloads:
        sections.payload(data, start)
    return found, sections


LONG = pmt(Pmt(1, 0x100, tuple(Entry(0x1B, 0x100 + index) for index in range(60))))
SHORT = pat({1: 0x100})


@given(st.integers(1, len(LONG) - 1))
def test_a_section_may_be_spread_over_packets(cut: int) -> None:
    found, _ = collect((section_payload(LONG[:cut]), True), (LONG[cut:] + b"\xff" * 9, False))

    assert found == [LONG]


def test_a_section_may_end_where_the_next_begins() -> None:
    start = section_payload(LONG[:150])
    rest = LONG[150:]

    found, _ = collect((start, True), (bytes((len(rest),)) + rest + SHORT + SHORT[:-1], True))

    assert found == [LONG, SHORT]


def test_a_repeat_is_not_given_again() -> None:
    found, _ = collect(*[(section_payload(SHORT), True)] * 3)

    assert found == [SHORT]


def test_a_wrong_crc_drops_the_section() -> None:
    broken = SHORT[:-1] + bytes((SHORT[-1] ^ 1,))

    found, sections = collect((section_payload(broken), True), (section_payload(SHORT), True))

    assert found == [SHORT]
    assert sections.broken == 1


def test_behind_a_broken_section_nothing_is_trusted() -> None:
    broken = SHORT[:-1] + bytes((SHORT[-1] ^ 1,))

    found, _ = collect((section_payload(broken + SHORT), True), (SHORT, False))

    assert found == []


def test_after_a_loss_the_rest_of_a_section_is_dropped() -> None:
    found: list[bytes] = []
    sections = Sections(found.append)

    sections.payload(section_payload(LONG[:150]), True)
    sections.lost(counted=True)
    sections.payload(LONG[150:], False)

    assert found == []


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=184), st.booleans()), max_size=40))
def test_garbage_payloads_give_no_section(payloads: list[tuple[bytes, bool]]) -> None:
    found, _ = collect(*payloads)

    assert found == []
