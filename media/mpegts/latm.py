"""AAC in LATM with LOAS framing (ISO/IEC 14496-3, 1.7): one programme of one layer."""

from contextlib import suppress
from typing import Final

from media.codecs.aac import AudioConfig
from media.codecs.bits import BitReader
from media.errors import InvalidBitstream

_SYNC: Final = b"\x56"
_HEADER: Final = 3
_MAX_ELEMENT: Final = 8191


class LatmReader:
    """Remembers the StreamMuxConfig, which not every frame repeats."""

    def __init__(self) -> None:
        self._config: AudioConfig | None = None
        self._subframes = 1

    def split(self, data: bytes) -> tuple[list[tuple[AudioConfig, bytes]], bytes]:
        """The raw frames in a piece of an AudioSyncStream, and its unfinished rest (< 8 KiB).

        An element counts as one if another or nothing follows it; other bytes, and elements of
        a kind we do not read, are passed over."""
        frames: list[tuple[AudioConfig, bytes]] = []
        position, end = 0, len(data)
        while True:
            position = data.find(_SYNC, position)
            if position < 0:
                return frames, b""
            if end - position < _HEADER:
                return frames, data[position:]
            if data[position + 1] & 0xE0 != 0xE0:
                position += 1
                continue
            size = (data[position + 1] & 0x1F) << 8 | data[position + 2]
            start = position + _HEADER
            if start + size > end:
                return frames, data[position:]
            if not _follows(data, start + size):
                position += 1
                continue
            # An element that cannot be read is passed over whole: there is none inside it.
            with suppress(InvalidBitstream):
                frames += self._read_element(data[start : start + size])
            position = start + size

    def _read_element(self, data: bytes) -> list[tuple[AudioConfig, bytes]]:
        """AudioMuxElement(1) (1.7.3)."""
        bits = BitReader(data, limit=_MAX_ELEMENT)
        if not bits.flag():
            self._read_config(bits)
        if self._config is None:
            return []
        frames: list[tuple[AudioConfig, bytes]] = []
        for _ in range(self._subframes):
            size = 0
            while (step := bits.read(8)) == 0xFF:
                size += 0xFF
            size += step
            frames.append((self._config, bits.read(8 * size).to_bytes(size, "big")))
        return [(config, raw) for config, raw in frames if raw]

    def _read_config(self, bits: BitReader) -> None:
        """StreamMuxConfig() (1.7.3)."""
        version = bits.read(1)
        if version and bits.flag():
            raise InvalidBitstream("LATM of an unknown version")
        if version:
            _read_value(bits)
        if not bits.flag():
            raise InvalidBitstream("LATM with frames of their own timing")
        subframes = bits.read(6) + 1
        if bits.read(4) or bits.read(3):
            raise InvalidBitstream("LATM with several programmes or layers")
        if version:
            size = _read_value(bits)
            before = bits.left
            config = AudioConfig.read(bits, late_extension=False)
            bits.skip(_not_negative(size - (before - bits.left)))
        else:
            config = AudioConfig.read(bits, late_extension=False)
        if bits.read(3):
            raise InvalidBitstream("LATM with frames of a fixed length")
        bits.skip(8)
        if bits.flag():
            _skip_other_data(bits, version)
        if bits.flag():
            bits.skip(8)
        self._config, self._subframes = config, subframes


def _follows(data: bytes, position: int) -> bool:
    """Whether another element begins here, or nothing."""
    follower = data[position : position + 2]
    return follower[:1] in (b"", _SYNC) and (len(follower) < 2 or follower[1] & 0xE0 == 0xE0)


def _not_negative(size: int) -> int:
    if size < 0:
        raise InvalidBitstream("AAC config longer than LATM says")
    return size


def _read_value(bits: BitReader) -> int:
    """LatmGetValue()."""
    return bits.read(8 * (bits.read(2) + 1))


def _skip_other_data(bits: BitReader, version: int) -> None:
    """The length of other data, which stands behind the frames and is left there."""
    if version:
        _read_value(bits)
        return
    more = True
    while more:
        more = bits.flag()
        bits.skip(8)
