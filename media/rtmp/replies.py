"""What the server says: command and control messages, as Adobe's server and its clients know them.

Codes of `onStatus` are from the tables of NetConnection and NetStream in RTMP 1.0 and Enhanced RTMP
v2; librtmp, ffmpeg and their kin match them as text.
"""

from collections.abc import Mapping
from typing import Final

from media.rtmp import amf0
from media.rtmp.chunks import Message, MessageType
from media.rtmp.values import Value

VIDEO_FOURCCS: Final = ("avc1", "hvc1", "av01")
AUDIO_FOURCCS: Final = ("mp4a", "Opus")

_CAN_FORWARD: Final = 4
CAPS_RECONNECT: Final = 0x01
_CAPS_MULTITRACK: Final = 0x02
_CAPS_MOD_EX: Final = 0x04
_CAPS_NANO_OFFSET: Final = 0x08
_LIMIT_DYNAMIC: Final = 2
_STREAM_BEGIN: Final = 0
_PING_RESPONSE: Final = 7

REFUSALS: Final = {
    "unauthorized": "The stream key is not the key of this room. Copy it again from the studio.",
    "forbidden": "This stream key may not publish here.",
    "not_found": "There is no such room. The stream key reads ROOM?key=STREAM_KEY.",
    "conflict": "This room is being published already, and its key does not allow a takeover.",
    "one_at_a_time": "One connection publishes one stream; open another one.",
    "overloaded": "The server is full. Try again later.",
}


def command(*values: Value, stream: int = 0) -> Message:
    return Message(MessageType.COMMAND_AMF0, stream, 0, amf0.serialize(*values))


def control(kind: MessageType, payload: bytes) -> Message:
    return Message(kind, 0, 0, payload)


def window_ack_size(size: int) -> Message:
    return control(MessageType.WINDOW_ACK_SIZE, size.to_bytes(4, "big"))


def set_peer_bandwidth(size: int) -> Message:
    payload = size.to_bytes(4, "big") + bytes((_LIMIT_DYNAMIC,))
    return control(MessageType.SET_PEER_BANDWIDTH, payload)


def set_chunk_size(size: int) -> Message:
    return control(MessageType.SET_CHUNK_SIZE, size.to_bytes(4, "big"))


def acknowledgement(received: int) -> Message:
    return control(MessageType.ACKNOWLEDGEMENT, (received & 0xFFFFFFFF).to_bytes(4, "big"))


def stream_begin(stream: int) -> Message:
    payload = _STREAM_BEGIN.to_bytes(2, "big") + stream.to_bytes(4, "big")
    return control(MessageType.USER_CONTROL, payload)


def ping_response(moment: bytes) -> Message:
    return control(MessageType.USER_CONTROL, _PING_RESPONSE.to_bytes(2, "big") + moment)


def status(
    level: str, code: str, description: str, *, stream: int = 0, more: Mapping[str, Value] = {}
) -> Message:
    info: Value = {"level": level, "code": code, "description": description, **more}
    return command("onStatus", 0, None, info, stream=stream)


def connected(transaction: float, encoding: int) -> Message:
    """Connect succeeded. Says which FourCCs are carried, never `*`, in both of its objects, since
    Enhanced RTMP v2 leaves open which of them clients read."""
    enhanced: dict[str, Value] = {
        "fourCcList": list[Value](VIDEO_FOURCCS + AUDIO_FOURCCS),
        "videoFourCcInfoMap": dict.fromkeys(VIDEO_FOURCCS, _CAN_FORWARD),
        "audioFourCcInfoMap": dict.fromkeys(AUDIO_FOURCCS, _CAN_FORWARD),
        "capsEx": CAPS_RECONNECT | _CAPS_MULTITRACK | _CAPS_MOD_EX | _CAPS_NANO_OFFSET,
    }
    server: dict[str, Value] = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31, "mode": 1}
    info: dict[str, Value] = {
        "level": "status",
        "code": "NetConnection.Connect.Success",
        "description": "Connection succeeded.",
        "objectEncoding": encoding,
    }
    return command("_result", transaction, server | enhanced, info | enhanced)


def connect_refused(transaction: float, description: str) -> Message:
    info: Value = {
        "level": "error",
        "code": "NetConnection.Connect.InvalidApp",
        "description": description,
    }
    return command("_error", transaction, None, info)


def result(transaction: float, value: Value = None) -> Message:
    return command("_result", transaction, None, value)


def fc_published() -> Message:
    info: Value = {
        "level": "status",
        "code": "NetStream.Publish.Start",
        "description": "FCPublish.",
    }
    return command("onFCPublish", 0, None, info)


def publish_started(stream: int) -> Message:
    return status(
        "status",
        "NetStream.Publish.Start",
        "Publishing.",
        stream=stream,
        more={"clientid": "publisher"},
    )


def publish_refused(stream: int, code: str) -> Message:
    description = REFUSALS.get(code, "Publishing was refused.")
    return status("error", "NetStream.Publish.BadName", description, stream=stream)


def publish_taken(stream: int, reason: str) -> Message:
    return status("error", "NetStream.Publish.Denied", reason, stream=stream)


def unpublished(stream: int) -> Message:
    return status("status", "NetStream.Unpublish.Success", "Stopped publishing.", stream=stream)


def play_refused(stream: int) -> Message:
    return status(
        "error",
        "NetStream.Play.Failed",
        "This server takes RTMP in, but plays over WebRTC and HLS.",
        stream=stream,
    )


def reconnect_request(tc_url: str) -> Message:
    where: dict[str, Value] = {"tcUrl": tc_url} if tc_url else {}
    return status(
        "status",
        "NetConnection.Connect.ReconnectRequest",
        "The server is going down for maintenance.",
        more=where,
    )
