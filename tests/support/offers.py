"""Offers as the browsers write them, shortened to what differs between them."""

from collections.abc import Sequence
from typing import Final

FINGERPRINT: Final = "sha-256 " + ":".join(["AB"] * 32)
UFRAG: Final = "q7Zh"
PASSWORD: Final = "CIHqcOLTk7DXIWn2oDQGpqVd"

TRANSPORT: Final = (
    "a=ice-ufrag:" + UFRAG,
    "a=ice-pwd:" + PASSWORD,
    "a=ice-options:trickle",
    "a=fingerprint:" + FINGERPRINT,
    "a=setup:actpass",
)

H264: Final = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="


def h264(payload_type: int, level_id: str, rtx: int | None = None) -> list[str]:
    lines = [
        f"a=rtpmap:{payload_type} H264/90000",
        f"a=rtcp-fb:{payload_type} goog-remb",
        f"a=rtcp-fb:{payload_type} transport-cc",
        f"a=rtcp-fb:{payload_type} ccm fir",
        f"a=rtcp-fb:{payload_type} nack",
        f"a=rtcp-fb:{payload_type} nack pli",
        f"a=fmtp:{payload_type} {H264}{level_id}",
    ]
    if rtx is not None:
        lines += [f"a=rtpmap:{rtx} rtx/90000", f"a=fmtp:{rtx} apt={payload_type}"]
    return lines


def sdp(*sections: Sequence[str], bundle: str | None = "0 1", session: Sequence[str] = ()) -> str:
    lines = ["v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if bundle is not None:
        lines.append("a=group:BUNDLE " + bundle)
    lines += session
    for section in sections:
        lines += section
    return "\r\n".join(lines) + "\r\n"


CHROME_VIDEO: Final = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 107 108 109 114 39 40 45 46 98 99 123",
    "c=IN IP4 0.0.0.0",
    "a=rtcp:9 IN IP4 0.0.0.0",
    "a=candidate:1234 1 udp 2113937151 7d4a2f8e-1b43-4c7e-9a70-1f3d5c7b9a11.local 51234 typ host "
    "generation 0 network-cost 999",
    *TRANSPORT,
    "a=mid:0",
    "a=extmap:1 urn:ietf:params:rtp-hdrext:toffset",
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
    "a=recvonly",
    "a=rtcp-mux",
    "a=rtcp-rsize",
    "a=rtpmap:96 VP8/90000",
    "a=rtcp-fb:96 nack",
    "a=rtpmap:97 rtx/90000",
    "a=fmtp:97 apt=96",
    *h264(103, "42001f", 104),
    "a=rtpmap:107 H264/90000",
    "a=fmtp:107 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
    *h264(108, "42e01f", 109),
    *h264(114, "4d001f"),
    *h264(39, "64001f", 40),
    "a=rtpmap:45 AV1/90000",
    "a=fmtp:45 level-idx=5;profile=0;tier=0",
    "a=rtpmap:46 rtx/90000",
    "a=fmtp:46 apt=45",
    "a=rtpmap:98 H265/90000",
    "a=rtcp-fb:98 nack",
    "a=fmtp:98 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
    "a=rtpmap:99 rtx/90000",
    "a=fmtp:99 apt=98",
    "a=rtpmap:123 ulpfec/90000",
)
CHROME_AUDIO: Final = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 110",
    "c=IN IP4 0.0.0.0",
    "a=rtcp:9 IN IP4 0.0.0.0",
    *TRANSPORT,
    "a=mid:1",
    "a=recvonly",
    "a=rtcp-mux",
    "a=rtpmap:111 opus/48000/2",
    "a=rtcp-fb:111 transport-cc",
    "a=fmtp:111 minptime=10;useinbandfec=1",
    "a=rtpmap:63 red/48000/2",
    "a=fmtp:63 111/111",
    "a=rtpmap:9 G722/8000",
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:8 PCMA/8000",
    "a=rtpmap:110 telephone-event/48000",
)
DATA: Final = (
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    *TRANSPORT,
    "a=mid:2",
    "a=sctp-port:5000",
    "a=max-message-size:262144",
)
CHROME: Final = sdp(
    CHROME_VIDEO,
    CHROME_AUDIO,
    session=("a=extmap-allow-mixed", "a=msid-semantic: WMS"),
)

# Firefox puts fingerprint and options into the session's part, and mids in braces never.
FIREFOX: Final = sdp(
    (
        "m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101",
        "c=IN IP4 0.0.0.0",
        "a=recvonly",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1",
        "a=fmtp:101 0-15",
        "a=ice-pwd:0123456789abcdef0123456789abcdef",
        "a=ice-ufrag:01234567",
        "a=mid:0",
        "a=rtcp-mux",
        "a=rtpmap:109 opus/48000/2",
        "a=rtpmap:9 G722/8000/1",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000/1",
        "a=setup:actpass",
    ),
    (
        "m=video 0 UDP/TLS/RTP/SAVPF 120 124 126 127 97 98",
        "c=IN IP4 0.0.0.0",
        "a=bundle-only",
        "a=recvonly",
        "a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1",
        "a=fmtp:97 profile-level-id=42e01f;level-asymmetry-allowed=1",
        "a=fmtp:120 max-fs=12288;max-fr=60",
        "a=fmtp:124 apt=120",
        "a=fmtp:127 apt=126",
        "a=fmtp:98 apt=97",
        "a=ice-pwd:0123456789abcdef0123456789abcdef",
        "a=ice-ufrag:01234567",
        "a=mid:1",
        "a=rtcp-fb:126 nack",
        "a=rtcp-fb:126 nack pli",
        "a=rtcp-fb:126 ccm fir",
        "a=rtcp-fb:126 goog-remb",
        "a=rtcp-fb:126 transport-cc",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=rtpmap:120 VP8/90000",
        "a=rtpmap:124 rtx/90000",
        "a=rtpmap:126 H264/90000",
        "a=rtpmap:127 rtx/90000",
        "a=rtpmap:97 H264/90000",
        "a=rtpmap:98 rtx/90000",
        "a=setup:actpass",
    ),
    session=(
        "a=fingerprint:sha-256 " + ":".join(["CD"] * 32),
        "a=ice-options:trickle",
        "a=msid-semantic:WMS *",
    ),
)

# Safari offers High first, and sendrecv when a page uses addTransceiver without a direction.
SAFARI: Final = sdp(
    (
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101",
        "c=IN IP4 0.0.0.0",
        *TRANSPORT,
        "a=mid:0",
        "a=sendrecv",
        "a=msid:- 5c0f7e2d-8f24-4bd2-b1a8-2f1f2d3c4b5a",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        *h264(96, "640c1f", 97),
        *h264(98, "42e01f", 99),
        "a=rtpmap:100 H265/90000",
        "a=rtpmap:101 rtx/90000",
        "a=fmtp:101 apt=100",
    ),
    ("m=audio 9 UDP/TLS/RTP/SAVPF 111", *CHROME_AUDIO[1:]),
)
BROWSERS: Final = {"chrome": CHROME, "firefox": FIREFOX, "safari": SAFARI}
