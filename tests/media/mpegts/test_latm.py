import pytest
from hypothesis import given, strategies as st

from media.codecs.aac import AudioConfig
from media.codecs.bits import BitWriter
from media.mpegts.latm import LatmReader

LC = AudioConfig(2, 48000, 2)


def element(
    raws: list[bytes],
    *,
    config: AudioConfig | None = LC,
    version: int = 0,
    other_data: bool = False,
    crc: bool = False,
    programmes: int = 1,
) -> bytes:
    """An AudioSyncStream element of `raws`, each a subframe; no `config`: as before."""
    bits = BitWriter()
    bits.write(config is None, 1)
    if config is not None:
        bits.write(version, 1)
        if version:
            bits.write(0, 1)
            bits.write(0, 2)
            bits.write(0xFF, 8)
        bits.write(1, 1)
        bits.write(len(raws) - 1, 6)
        bits.write(programmes - 1, 4)
        bits.write(0, 3)
        if version:
            bits.write(0, 2)
            bits.write(16 + 3, 8)
        asc = config.serialize()
        assert len(asc) == 2
        bits.write(int.from_bytes(asc, "big"), 16)
        if version:
            bits.write(0, 3)
        bits.write(0, 3)
        bits.write(0xFF, 8)
        bits.write(other_data, 1)
        if other_data and version:
            bits.write(0, 2)
            bits.write(8, 8)
        elif other_data:
            bits.write(0, 1)
            bits.write(8, 8)
        bits.write(crc, 1)
        if crc:
            bits.write(0x5A, 8)
    for raw in raws:
        for _ in range(len(raw) // 255):
            bits.write(255, 8)
        bits.write(len(raw) % 255, 8)
        for byte in raw:
            bits.write(byte, 8)
    if other_data:
        bits.write(0xAB, 8)
    body = bits.serialize()
    return bytes((0x56, 0xE0 | len(body) >> 8, len(body) & 0xFF)) + body


raw_frames = st.lists(st.binary(min_size=1, max_size=600), min_size=1, max_size=3)


@given(raw_frames, st.integers(0, 1), st.booleans(), st.booleans())
def test_reads_what_was_multiplexed(
    raws: list[bytes], version: int, other_data: bool, crc: bool
) -> None:
    data = element(raws, version=version, other_data=other_data, crc=crc)

    assert LatmReader().split(data) == ([(LC, raw) for raw in raws], b"")


def test_the_config_need_not_be_repeated() -> None:
    reader = LatmReader()

    assert reader.split(element([b"early"], config=None)) == ([], b"")
    frames, _ = reader.split(element([b"one"]) + element([b"two"], config=None))

    assert frames == [(LC, b"one"), (LC, b"two")]


@given(st.integers(0, 60))
def test_keeps_an_unfinished_element(cut: int) -> None:
    data = element([b"one" * 5]) + element([b"two" * 5])
    reader = LatmReader()

    first, rest = reader.split(data[:cut])
    second, end = reader.split(rest + data[cut:])

    assert [raw for _, raw in first + second] == [b"one" * 5, b"two" * 5]
    assert end == b""


@pytest.mark.parametrize("prefix", [b"\x56", b"\x56\x00", b"junk"])
def test_passes_over_what_is_no_element(prefix: bytes) -> None:
    frames, _ = LatmReader().split(prefix + element([b"one"]))

    assert frames == [(LC, b"one")]


def test_several_programmes_are_passed_over() -> None:
    assert LatmReader().split(element([b"one"], programmes=2))[0] == []


@given(st.binary(max_size=300))
def test_garbage_raises_nothing(data: bytes) -> None:
    reader = LatmReader()
    for piece in (data, b"\x56\xe0" + data, b"\x56\xe0" + bytes((len(data) % 256,)) + data):
        _, rest = reader.split(piece)
        assert len(rest) <= len(piece)
