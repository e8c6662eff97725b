"""RTCP, with aiortc's parser as the other opinion."""

import aiortc.rtp as aiortc
import pytest
from hypothesis import given, settings, strategies as st

from media.rtp.rtcp import (
    FullIntraRequest,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpError,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    parse_compound,
)

words = st.integers(0, 0xFFFFFFFF)
blocks = st.lists(
    st.builds(
        ReportBlock,
        ssrc=words,
        fraction_lost=st.integers(0, 255),
        lost=st.integers(-(1 << 23), (1 << 23) - 1),
        highest=words,
        jitter=words,
        last_report=words,
        delay=words,
    ),
    max_size=31,
).map(tuple)
sequences = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=60, unique=True).map(
    lambda numbers: tuple(sorted(numbers))
)
packets = st.one_of(
    st.builds(
        SenderReport,
        ssrc=words,
        ntp=st.integers(0, (1 << 64) - 1),
        rtp_time=words,
        packets=words,
        octets=words,
        blocks=blocks,
    ),
    st.builds(ReceiverReport, ssrc=words, blocks=blocks),
    st.builds(
        SourceDescription,
        names=st.lists(st.tuples(words, st.binary(max_size=255)), max_size=4).map(tuple),
    ),
    st.builds(Goodbye, ssrcs=st.lists(words, max_size=31).map(tuple)),
    st.builds(Nack, sender=words, ssrc=words, lost=sequences),
    st.builds(PictureLoss, sender=words, ssrc=words),
    st.builds(
        FullIntraRequest,
        sender=words,
        requests=st.lists(st.tuples(words, st.integers(0, 255)), max_size=5).map(tuple),
    ),
    st.builds(
        Remb,
        sender=words,
        bitrate=st.integers(0, (1 << 18) - 1),
        ssrcs=st.lists(words, max_size=5).map(tuple),
    ),
)


@given(st.lists(packets, max_size=6))
def test_parses_what_it_writes(compound: list[RtcpPacket]) -> None:
    data = b"".join(packet.serialize() for packet in compound)

    assert parse_compound(data) == tuple(compound)


@given(st.builds(SenderReport, words, st.integers(0, (1 << 64) - 1), words, words, words, blocks))
def test_aiortc_reads_our_sender_report(report: SenderReport) -> None:
    (other,) = aiortc.RtcpPacket.parse(report.serialize())

    assert isinstance(other, aiortc.RtcpSrPacket)
    assert other.ssrc == report.ssrc
    assert other.sender_info == aiortc.RtcpSenderInfo(
        report.ntp, report.rtp_time, report.packets, report.octets
    )
    assert other.reports == [
        aiortc.RtcpReceiverInfo(
            b.ssrc, b.fraction_lost, b.lost, b.highest, b.jitter, b.last_report, b.delay
        )
        for b in report.blocks
    ]


@given(words, st.binary(min_size=1, max_size=255))
def test_aiortc_reads_our_name(ssrc: int, name: bytes) -> None:
    """One name, as we send it; aiortc does not skip the filling between two."""
    (other,) = aiortc.RtcpPacket.parse(SourceDescription(((ssrc, name),)).serialize())

    assert isinstance(other, aiortc.RtcpSdesPacket)
    assert [(chunk.ssrc, chunk.items) for chunk in other.chunks] == [(ssrc, [(1, name)])]


@given(words, words, sequences)
def test_reads_the_nacks_of_aiortc(sender: int, ssrc: int, lost: tuple[int, ...]) -> None:
    data = bytes(aiortc.RtcpRtpfbPacket(fmt=1, ssrc=sender, media_ssrc=ssrc, lost=list(lost)))

    assert parse_compound(data) == (Nack(sender, ssrc, lost),)
    assert parse_compound(Nack(sender, ssrc, lost).serialize()) == (Nack(sender, ssrc, lost),)


def test_a_nack_wraps_with_the_sequence_numbers() -> None:
    nack = Nack(1, 2, (0xFFFE, 0xFFFF, 0, 5))

    assert len(nack.serialize()) == 16
    assert parse_compound(nack.serialize()) == (nack,)


@given(words, st.integers(0, 1 << 40), st.lists(words, max_size=5))
def test_aiortc_reads_our_remb(sender: int, bitrate: int, ssrcs: list[int]) -> None:
    data = Remb(sender, bitrate, tuple(ssrcs)).serialize()

    (other,) = aiortc.RtcpPacket.parse(data)
    (ours,) = parse_compound(data)

    assert isinstance(other, aiortc.RtcpPsfbPacket)
    assert isinstance(ours, Remb)
    assert aiortc.unpack_remb_fci(other.fci) == (ours.bitrate, ssrcs)
    assert bitrate - bitrate / (1 << 17) <= ours.bitrate <= bitrate


def test_skips_what_it_has_no_use_for() -> None:
    extended = bytes.fromhex("80cf000100000001")
    application = bytes.fromhex("80cc00020000000161626364")
    transport_wide = bytes.fromhex("8fcd0005000000010000000200010001000000000001000001000000")[:24]
    unknown_feedback = bytes.fromhex("8fce0003000000010000000258585858")
    goodbye = Goodbye((7,))

    data = extended + application + transport_wide + unknown_feedback + goodbye.serialize()

    assert parse_compound(data) == (goodbye,)


def test_skips_items_that_are_no_name() -> None:
    tool = bytes.fromhex("81ca0004000000070604746f6f6c0103616263" + "00")

    assert parse_compound(tool) == (SourceDescription(((7, b"abc"),)),)


def test_takes_padding_off() -> None:
    padded = bytes.fromhex("a1cb0002") + (7).to_bytes(4, "big") + bytes.fromhex("00000004")

    assert parse_compound(padded) == (Goodbye((7,)),)


@pytest.mark.parametrize(
    "data",
    [
        "80",
        "00c80000",
        "80c80001",
        "80c8000000",
        "81c9000100000001",
        "81cb0000",
        "81ca0001000000",
        "81ca000100000001",
        "81ca000200000001010a6162",
        "80ce000100000001",
        "84ce00030000000100000002000000",
        "8fce00030000000100000000" + "52454d42",
        "8fce00040000000100000000" + "52454d42" + "05000000",
        "81cd00020000000100000002",
        "a1cb000100000007",
        "a0cb0000",
    ],
)
def test_refuses_what_is_broken(data: str) -> None:
    with pytest.raises(RtcpError):
        parse_compound(bytes.fromhex(data))


def test_refuses_a_datagram_full_of_packets() -> None:
    with pytest.raises(RtcpError, match="too many"):
        parse_compound(bytes.fromhex("80cf0000") * 65)


@given(st.binary(max_size=120))
@settings(max_examples=500)
def test_random_bytes_are_packets_or_the_peers_fault(data: bytes) -> None:
    try:
        compound = parse_compound(data)
    except RtcpError:
        return
    assert len(compound) <= len(data) // 4


@given(st.lists(packets, min_size=1, max_size=3), st.data())
@settings(max_examples=150)
def test_mutated_packets_are_packets_or_the_peers_fault(
    compound: list[RtcpPacket], data: st.DataObject
) -> None:
    mutated = bytearray(b"".join(packet.serialize() for packet in compound))
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_compound(bytes(mutated))
    except RtcpError:
        return
    assert len(parsed) <= len(mutated) // 4
