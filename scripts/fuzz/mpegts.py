"""Coverage-guided fuzzing of the MPEG-TS demuxer.

An input is a series of packets in short: two bytes of flags and identifier, a length, the
payload; the fuzzer need not find sync bytes, counters and checksums. If its first byte is even it
is fed as it is instead. Any error at all is a finding.
"""

from typing import Final

from media.codecs import aac, h264, opus
from media.codecs.nal import join_length_prefixed
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.muxer import PID_FIRST_TRACK, PID_PMT, TsMuxer
from media.mpegts.packets import PACKET_SIZE
from media.mpegts.tables import crc32
from media.stream import AUDIO, VIDEO
from media.units import AccessUnit
from scripts.fuzz import guided

_PIDS: Final = (0, PID_PMT, PID_FIRST_TRACK, PID_FIRST_TRACK + 1, 0x30, 0x31, 0x1FFF, 0x40)
_TABLES: Final = frozenset({0, PID_PMT})
_SPS: Final = bytes.fromhex("67640015acd941533c45e022000003000200000300643e28532c")
_PPS: Final = bytes.fromhex("68ebe3cb22c0")


def expand(data: bytes) -> bytes:
    """Packets with sync bytes, running counters and right checksums, as `data` describes them."""
    out: list[bytes] = []
    counters = [0] * len(_PIDS)
    position = 0
    while position + 2 < len(data):
        flags, which, size = data[position], data[position + 1] % len(_PIDS), data[position + 2]
        position += 3
        body = data[position : position + size]
        position += size
        if _PIDS[which] in _TABLES and flags & 1 and len(body) > 3:
            body = _with_crc(body)
        body = body[:184].ljust(184, b"\xff")
        counter = counters[which] + (1 if flags & 2 else 0)
        counters[which] = (counter + 1) & 0xF
        second = (0x40 if flags & 4 else 0) | _PIDS[which] >> 8
        control = (0x30 if flags & 8 else 0x10) | counter & 0xF
        out.append(bytes((0x47, second, _PIDS[which] & 0xFF, control)) + body)
    return b"".join(out)


def _with_crc(body: bytes) -> bytes:
    """A section with its checksum, behind a pointer of 0; its own length is put right."""
    section = bytearray(body[:170])
    if len(section) < 9:
        return body
    size = len(section) - 3 + 4
    section[1] = section[1] & 0xF0 | size >> 8
    section[2] = size & 0xFF
    whole = bytes(section)
    return b"\x00" + whole + crc32(whole).to_bytes(4, "big")


def fuzz(data: bytes) -> None:
    if not data:
        return
    stream = expand(data[1:]) if data[0] & 1 else data[1:]
    demuxer = TsDemuxer()
    items = []
    for at in range(0, len(stream), 1316):
        items += demuxer.feed(stream[at : at + 1316])
    items += demuxer.flush()
    size = sum(len(item.payload) for item in items if isinstance(item, AccessUnit))
    assert size <= 5 * len(stream)


def seeds() -> list[bytes]:
    muxer = TsMuxer()
    muxer.set_track(h264.track(VIDEO, h264.AvcConfig((_SPS,), (_PPS,))))
    muxer.set_track(aac.track(AUDIO, aac.AudioConfig(2, 48000, 2).serialize()))
    key = join_length_prefixed([bytes.fromhex("6588840021ffc0"), b"\x65\x40" + b"x" * 300])
    stream = muxer.mux(AccessUnit(VIDEO, 3000, 0, True, key))
    stream += muxer.mux(AccessUnit(AUDIO, 0, 0, True, b"\x21" * 60))
    later = join_length_prefixed([b"\x41\x9a" + b"y" * 100])
    stream += muxer.mux(AccessUnit(VIDEO, 6000, 3000, False, later))
    muxer.set_track(opus.track(AUDIO, opus.OpusConfig(2).serialize()))
    stream += muxer.mux(AccessUnit(AUDIO, 1800, 1800, True, b"\xfc" + b"o" * 40))
    stream += muxer.mux(AccessUnit(VIDEO, 6000, 6000, False, later))
    return [b"\x00" + stream, b"\x01" + _shorten(stream)]


def _shorten(stream: bytes) -> bytes:
    """The inverse of `expand`, as far as it goes."""
    out = bytearray()
    for at in range(0, len(stream), PACKET_SIZE):
        packet = stream[at : at + PACKET_SIZE]
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        which = _PIDS.index(pid) if pid in _PIDS else 4
        flags = 4 * bool(packet[1] & 0x40) | 8 * bool(packet[3] & 0x20)
        body = packet[4:]
        if pid in _TABLES:
            flags |= 1
            body = body[1 : 1 + 3 + body[3] - 4]
        out += bytes((flags, which, len(body))) + body
    return bytes(out)


if __name__ == "__main__":
    guided.run(fuzz, seeds(), packages=("media.codecs", "media.mpegts"))
