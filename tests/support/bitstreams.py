"""Builds parameter sets, pictures and frames of sound bit by bit, as an encoder would."""

from collections.abc import Sequence
from dataclasses import dataclass

from media.codecs import aac, h264, hevc, opus
from media.codecs.bits import BitWriter
from media.codecs.nal import join_length_prefixed
from media.stream import AUDIO, VIDEO
from media.units import Track, TrackId


def escaped(rbsp: bytes) -> bytes:
    """With emulation prevention, the way the standards describe it: byte by byte."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


@dataclass(frozen=True)
class AvcSequence:
    """The fields of an H.264 sequence parameter set that tests vary; `width`, `height` are the
    cropped picture's."""

    width: int = 1280
    height: int = 720
    profile: int = 100
    constraints: int = 0
    level: int = 31
    id: int = 0
    chroma: int = 1
    separate_planes: bool = False
    luma_depth: int = 8
    chroma_depth: int = 8
    scaling_lists: bool = False
    poc_type: int = 0
    frames_only: bool = True
    vui: bool = True
    aspect: tuple[int, int] | None = None
    full_range: bool | None = None
    fps: tuple[int, int] | None = (30, 1)
    hrd: bool = False
    reorder: int | None = None

    def nal(self) -> bytes:
        bits = BitWriter()
        for value in (self.profile, self.constraints, self.level):
            bits.write(value, 8)
        bits.ue(self.id)
        high = self.profile not in (66, 77, 88)
        if high:
            self._write_chroma(bits)
        bits.ue(0)
        bits.ue(self.poc_type)
        if self.poc_type == 0:
            bits.ue(2)
        elif self.poc_type == 1:
            bits.write(0, 1)
            for value in (-3, 4):
                bits.se(value)
            bits.ue(2)
            for value in (-1, 7):
                bits.se(value)
        bits.ue(4)
        bits.write(0, 1)
        self._write_size(bits, self.chroma if high else 1)
        bits.write(self.vui, 1)
        if self.vui:
            self._write_vui(bits)
        bits.write(1, 1)
        return b"\x67" + escaped(bits.serialize())

    def _write_chroma(self, bits: BitWriter) -> None:
        bits.ue(self.chroma)
        if self.chroma == 3:
            bits.write(self.separate_planes, 1)
        bits.ue(self.luma_depth - 8)
        bits.ue(self.chroma_depth - 8)
        bits.write(0, 1)
        bits.write(self.scaling_lists, 1)
        if self.scaling_lists:
            for index in range(12 if self.chroma == 3 else 8):
                bits.write(index % 2, 1)
                if index % 2:
                    # A list of its own, given up after two entries: the rest repeats.
                    for delta in (3, 5, -16):
                        bits.se(delta)

    def _write_size(self, bits: BitWriter, chroma: int) -> None:
        unit = 16 if self.frames_only else 32
        columns, rows = -(-self.width // 16), -(-self.height // unit)
        bits.ue(columns - 1)
        bits.ue(rows - 1)
        bits.write(self.frames_only, 1)
        if not self.frames_only:
            bits.write(1, 1)
        bits.write(1, 1)
        right, bottom = columns * 16 - self.width, rows * unit - self.height
        bits.write(bool(right or bottom), 1)
        if right or bottom:
            step_x = 2 if chroma in (1, 2) else 1
            step_y = (2 if chroma == 1 else 1) * (1 if self.frames_only else 2)
            assert right % step_x == 0
            assert bottom % step_y == 0
            for value in (0, right // step_x, 0, bottom // step_y):
                bits.ue(value)

    def _write_vui(self, bits: BitWriter) -> None:
        _write_display(bits, self.aspect, self.full_range)
        bits.write(self.fps is not None, 1)
        if self.fps is not None:
            bits.write(self.fps[1], 32)
            bits.write(2 * self.fps[0], 32)
            bits.write(1, 1)
        for _ in range(2):
            bits.write(self.hrd, 1)
            if self.hrd:
                bits.ue(1)
                bits.write(0x33, 8)
                for value in (1000, 2000, 3000, 4000):
                    bits.ue(value)
                    if value in (2000, 4000):
                        bits.write(1, 1)
                bits.write(0xFFFFF, 20)
        if self.hrd:
            bits.write(0, 1)
        bits.write(1, 1)
        bits.write(self.reorder is not None, 1)
        if self.reorder is not None:
            bits.write(1, 1)
            for value in (0, 0, 11, 11, self.reorder, 4):
                bits.ue(value)


def _write_display(
    bits: BitWriter, aspect: tuple[int, int] | None, full_range: bool | None
) -> None:
    """The beginning that the VUIs of H.264 and HEVC share."""
    bits.write(aspect is not None, 1)
    if aspect is not None:
        bits.write(255, 8)
        bits.write(aspect[0], 16)
        bits.write(aspect[1], 16)
    bits.write(0b10, 2) if full_range else bits.write(0, 1)
    bits.write(full_range is not None, 1)
    if full_range is not None:
        bits.write(5, 3)
        bits.write(full_range, 1)
        bits.write(1, 1)
        for code in (1, 13, 6):
            bits.write(code, 8)
    bits.write(1, 1)
    bits.ue(1)
    bits.ue(0)


def avc_pps(number: int = 0, sequence: int = 0) -> bytes:
    bits = BitWriter()
    bits.ue(number)
    bits.ue(sequence)
    bits.write(0b1011, 4)
    return b"\x68" + escaped(bits.serialize())


def avc_slice(
    *, idr: bool = False, intra: bool = False, first: bool = True, size: int = 200, seed: int = 0
) -> bytes:
    bits = BitWriter()
    bits.ue(0 if first else 40)
    bits.ue(7 if idr or intra else 5)
    bits.ue(0)
    body = bytes((seed + 7 * index) % 251 + 4 for index in range(size))
    return bytes((0x65 if idr else 0x41,)) + escaped(bits.serialize() + body)


AVC_RECOVERY_POINT = b"\x06\x06\x01\xc4\x80"
AVC_AUD = b"\x09\xf0"


def avc_config(sequence: AvcSequence | None = None) -> h264.AvcConfig:
    sequence = sequence or AvcSequence()
    return h264.AvcConfig((sequence.nal(),), (avc_pps(sequence=sequence.id),))


def avc_track(sequence: AvcSequence | None = None, track: TrackId = VIDEO) -> Track:
    return h264.track(track, avc_config(sequence))


@dataclass(frozen=True)
class HevcSequence:
    """The fields of an HEVC sequence parameter set that tests vary."""

    width: int = 1280
    height: int = 720
    profile: int = 1
    compatibility: int = 0x60000000
    constraints: int = 0x900000000000
    tier: int = 0
    level: int = 93
    id: int = 0
    layers: int = 1
    chroma: int = 1
    separate_planes: bool = False
    luma_depth: int = 8
    chroma_depth: int = 8
    scaling_lists: bool = False
    pcm: bool = False
    reference_sets: int = 0
    long_term: bool = False
    fps: tuple[int, int] | None = (30, 1)
    full_range: bool | None = None

    def nal(self) -> bytes:
        bits = BitWriter()
        bits.write(0, 4)
        bits.write(self.layers - 1, 3)
        bits.write(1, 1)
        self._write_profile(bits)
        bits.ue(self.id)
        bits.ue(self.chroma)
        if self.chroma == 3:
            bits.write(self.separate_planes, 1)
        width, height = -(-self.width // 8) * 8, -(-self.height // 8) * 8
        bits.ue(width)
        bits.ue(height)
        cropped = (width, height) != (self.width, self.height)
        bits.write(cropped, 1)
        if cropped:
            step_x, step_y = 2 if self.chroma in (1, 2) else 1, 2 if self.chroma == 1 else 1
            for value in (0, (width - self.width) // step_x):
                bits.ue(value)
            for value in (0, (height - self.height) // step_y):
                bits.ue(value)
        bits.ue(self.luma_depth - 8)
        bits.ue(self.chroma_depth - 8)
        bits.ue(4)
        bits.write(1, 1)
        for layer in range(self.layers):
            for value in (4, min(layer, 2), 0):
                bits.ue(value)
        self._write_tools(bits)
        bits.write(1, 1)
        self._write_vui(bits)
        bits.write(0, 1)
        bits.write(1, 1)
        return b"\x42\x01" + escaped(bits.serialize())

    def _write_profile(self, bits: BitWriter) -> None:
        bits.write(self.tier, 3)
        bits.write(self.profile, 5)
        bits.write(self.compatibility, 32)
        bits.write(self.constraints, 48)
        bits.write(self.level, 8)
        if self.layers > 1:
            for _ in range(self.layers - 1):
                bits.write(0b11, 2)
            bits.write(0, 2 * (9 - self.layers))
            for _ in range(self.layers - 1):
                bits.write(0, 88)
                bits.write(90, 8)

    def _write_tools(self, bits: BitWriter) -> None:
        for value in (0, 3, 0, 3, 1, 1):
            bits.ue(value)
        bits.write(self.scaling_lists, 1)
        if self.scaling_lists:
            bits.write(1, 1)
            for size in range(4):
                for matrix in range(2 if size == 3 else 6):
                    bits.write(matrix % 2, 1)
                    if not matrix % 2:
                        bits.ue(0)
                        continue
                    if size > 1:
                        bits.se(-4)
                    for step in range(min(64, 1 << (4 + 2 * size))):
                        bits.se(step % 3 - 1)
        bits.write(0b11, 2)
        bits.write(self.pcm, 1)
        if self.pcm:
            bits.write(0x77, 8)
            bits.ue(0)
            bits.ue(1)
            bits.write(1, 1)
        self._write_references(bits)
        bits.write(0b11, 2)

    def _write_references(self, bits: BitWriter) -> None:
        bits.ue(self.reference_sets)
        count = 3
        for index in range(self.reference_sets):
            if index:
                bits.write(index % 2, 1)
            if index % 2:
                # Predicted from the one before: one more entry than it, two of them not used.
                bits.write(1, 1)
                bits.ue(0)
                for entry in range(count + 1):
                    bits.write(0b1, 1) if entry else bits.write(0b00, 2)
            else:
                count = 3
                bits.ue(2)
                bits.ue(1)
                for _ in range(3):
                    bits.ue(0)
                    bits.write(1, 1)
        bits.write(self.long_term, 1)
        if self.long_term:
            bits.ue(2)
            bits.write(0x155, 2 * 9)

    def _write_vui(self, bits: BitWriter) -> None:
        _write_display(bits, None, self.full_range)
        bits.write(0, 3)
        bits.write(1, 1)
        for value in (0, 1, 0, 1):
            bits.ue(value)
        bits.write(self.fps is not None, 1)
        if self.fps is not None:
            bits.write(self.fps[1], 32)
            bits.write(self.fps[0], 32)
            bits.write(0, 2)
        bits.write(0, 1)


HEVC_VPS = b"\x40\x01\x0c\x01\xff\xff\x01\x60"
HEVC_AUD = b"\x46\x01\x50"


def hevc_pps(number: int = 0, sequence: int = 0) -> bytes:
    bits = BitWriter()
    bits.ue(number)
    bits.ue(sequence)
    bits.write(0b10011, 5)
    return b"\x44\x01" + escaped(bits.serialize())


def hevc_slice(kind: int = 1, *, first: bool = True, size: int = 200, seed: int = 0) -> bytes:
    """`kind` is the nal_unit_type: 1 a trailing picture, 19 an IDR, 21 a CRA."""
    body = bytes((seed + 5 * index) % 251 + 4 for index in range(size))
    return bytes((kind << 1, 1, 0x80 if first else 0x20)) + body


def hevc_config(sequence: HevcSequence | None = None) -> hevc.HvcConfig:
    sequence = sequence or HevcSequence()
    return hevc.HvcConfig((HEVC_VPS,), (sequence.nal(),), (hevc_pps(sequence=sequence.id),))


def hevc_track(sequence: HevcSequence | None = None, track: TrackId = VIDEO) -> Track:
    return hevc.track(track, hevc_config(sequence))


def aac_track(rate: int = 48000, channels: int = 2, track: TrackId = AUDIO) -> Track:
    return aac.track(track, aac.AudioConfig(aac.LOW_COMPLEXITY, rate, channels).serialize())


def opus_track(channels: int = 2, track: TrackId = AUDIO) -> Track:
    return opus.track(track, opus.OpusConfig(channels).serialize())


def opus_packet(size: int = 80, seed: int = 0) -> bytes:
    """20 ms of CELT, full band."""
    return b"\xfc" + bytes((seed + index) % 256 for index in range(size - 1))


def payload(*nals: bytes) -> bytes:
    return join_length_prefixed(nals)


def annexb(nals: Sequence[bytes], start_code: bytes = b"\x00\x00\x00\x01") -> bytes:
    return b"".join(start_code + nal for nal in nals)


def av1_sequence(
    width: int = 1280, height: int = 720, *, ten_bit: bool = False, level: int = 5, tier: int = 0
) -> bytes:
    """The payload of a sequence header OBU: profile 0, one operating point, 25 frames/s."""
    bits = BitWriter()
    bits.write(0, 5)
    bits.write(1, 1)
    bits.write(1, 32)
    bits.write(25, 32)
    bits.write(1, 1)
    bits.ue(0)
    bits.write(0, 1)
    bits.write(0, 1)
    bits.write(0, 5)
    bits.write(0, 12)
    bits.write(level, 5)
    if level > 7:
        bits.write(tier, 1)
    bits.write(15, 4)
    bits.write(15, 4)
    bits.write(width - 1, 16)
    bits.write(height - 1, 16)
    bits.write(0, 1)
    bits.write(0b111, 3)
    bits.write(0b1111, 4)
    bits.write(1, 1)
    bits.write(0b11, 2)
    bits.write(1, 1)
    bits.write(1, 1)
    bits.write(6, 3)
    bits.write(0b111, 3)
    bits.write(ten_bit, 1)
    bits.write(0, 1)
    bits.write(0, 1)
    bits.write(0, 1)
    bits.write(1, 2)
    bits.write(0, 2)
    bits.write(1, 1)
    return bits.serialize()


AV1_KEY_FRAME = b"\x10" + bytes(range(40))
AV1_INTER_FRAME = b"\x30" + bytes(range(30))
