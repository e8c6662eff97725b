"""Writes the answer to a viewer's offer (RFC 8829 §5.3, RFC 9143).

It has the offer's m-lines in its order. Those accepted are ``sendonly`` in one BUNDLE and under one
msid; whatever else is offered is refused with port 0. There is no header extension: the RTP header
is 12 bytes for every packet.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from media.units import Codec
from media.webrtc.certificate import Fingerprint
from media.webrtc.ice import Credentials
from media.webrtc.negotiation import Agreement, Leg
from media.webrtc.sdp import Offer, Section

_NAMES: Final = {Codec.H264: "H264", Codec.HEVC: "H265", Codec.AV1: "AV1", Codec.OPUS: "opus"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address of ours to announce: `host` is an IP address or a name."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Source:
    """One leg's identity on the wire; both legs of a viewer share `cname` and `stream`, by which a
    browser keeps them in step."""

    ssrc: int
    rtx_ssrc: int | None
    cname: str
    stream: str


def write_answer(
    offer: Offer,
    agreement: Agreement,
    *,
    local: Credentials,
    fingerprint: Fingerprint,
    candidates: Sequence[Candidate],
    sources: Sequence[Source],
    session_id: int,
) -> str:
    """The answer's text; `sources` go with `agreement.legs`, one for each."""
    by_index = {
        leg.index: (leg, source) for leg, source in zip(agreement.legs, sources, strict=True)
    }
    accepted = [offer.sections[index] for index in sorted(by_index)]
    lines = ["v=0", f"o=- {session_id} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    mids = [section.mid for section in accepted if section.mid is not None]
    if mids:
        lines.append("a=group:BUNDLE " + " ".join(mids))
    lines += ["a=ice-lite", "a=msid-semantic: WMS *"]
    announced = False
    for index, section in enumerate(offer.sections):
        if index not in by_index:
            lines += _refused(section)
            continue
        leg, source = by_index[index]
        lines += _media_lines(section, leg, candidates)
        lines += [
            f"a=ice-ufrag:{local.ufrag}",
            f"a=ice-pwd:{local.password}",
            f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}",
            "a=setup:passive",
        ]
        lines += _codec_lines(leg)
        lines += _source_lines(section.kind, leg, source)
        if not announced:  # They stand once, in the section that the bundle goes by.
            lines += candidate_lines(candidates)
            announced = True
    return "\r\n".join(lines) + "\r\n"


def write_fragment(local: Credentials, candidates: Sequence[Candidate], mid: str | None) -> str:
    """Our side of an ICE restart (RFC 8840, RFC 9725 §4.3.3)."""
    lines = ["a=ice-lite", f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.password}"]
    lines.append("m=audio 9 RTP/AVP 0")
    if mid is not None:
        lines.append(f"a=mid:{mid}")
    lines += candidate_lines(candidates)
    return "\r\n".join(lines) + "\r\n"


def candidate_lines(candidates: Sequence[Candidate]) -> Iterator[str]:
    """UDP and passive TCP (RFC 6544) for every address, those named first preferred."""
    count = len(candidates)
    for position, candidate in enumerate(candidates):
        # RFC 8445 §5.1.2.1; for TCP a lower type preference, so that it is the last resort, and
        # the passive direction in the local one (RFC 6544 §4.2).
        local = 0xFFFF - position
        priority = 126 << 24 | local << 8 | 255
        address = f"{candidate.host} {candidate.port}"
        yield f"a=candidate:{position + 1} 1 udp {priority} {address} typ host"
    for position, candidate in enumerate(candidates):
        local = 4 << 13 | 0x1FFF - position
        priority = 90 << 24 | local << 8 | 255
        address = f"{candidate.host} {candidate.port}"
        foundation = count + position + 1
        yield f"a=candidate:{foundation} 1 tcp {priority} {address} typ host tcptype passive"
    yield "a=end-of-candidates"


def _refused(section: Section) -> list[str]:
    lines = [f"m={section.kind} 0 {section.protocol} {section.format_list}", "c=IN IP4 0.0.0.0"]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    return [*lines, "a=inactive"]


def _media_lines(section: Section, leg: Leg, candidates: Sequence[Candidate]) -> list[str]:
    formats = [leg.payload_type]
    if leg.rtx_payload_type is not None:
        formats.append(leg.rtx_payload_type)
    listed = " ".join(map(str, formats))
    port, connection = 9, "IN IP4 0.0.0.0"
    if candidates:
        try:
            version = ipaddress.ip_address(candidates[0].host).version
        except ValueError:
            pass  # A name: the candidate line has it, this one need not.
        else:
            port, connection = candidates[0].port, f"IN IP{version} {candidates[0].host}"
    lines = [
        f"m={section.kind} {port} {section.protocol} {listed}",
        f"c={connection}",
        "a=rtcp:9 IN IP4 0.0.0.0",
    ]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    lines += ["a=sendonly", "a=rtcp-mux"]
    if section.rtcp_rsize:
        lines.append("a=rtcp-rsize")
    return lines


def _codec_lines(leg: Leg) -> Iterator[str]:
    suffix = "48000/2" if leg.codec is Codec.OPUS else "90000"
    yield f"a=rtpmap:{leg.payload_type} {_NAMES[leg.codec]}/{suffix}"
    for value in leg.feedback:
        yield f"a=rtcp-fb:{leg.payload_type} {value}"
    if leg.parameters:
        yield f"a=fmtp:{leg.payload_type} {leg.parameters}"
    if leg.rtx_payload_type is not None:
        yield f"a=rtpmap:{leg.rtx_payload_type} rtx/90000"
        yield f"a=fmtp:{leg.rtx_payload_type} apt={leg.payload_type}"


def _source_lines(kind: str, leg: Leg, source: Source) -> Iterator[str]:
    msid = f"{source.stream} {kind}"
    yield f"a=msid:{msid}"
    ssrcs = [source.ssrc]
    if leg.rtx_payload_type is not None and source.rtx_ssrc is not None:
        ssrcs.append(source.rtx_ssrc)
        yield f"a=ssrc-group:FID {source.ssrc} {source.rtx_ssrc}"
    for ssrc in ssrcs:
        yield f"a=ssrc:{ssrc} cname:{source.cname}"
        yield f"a=ssrc:{ssrc} msid:{msid}"
