"""A broadcast for pages to play: a WHEP endpoint that is a real peer (aiortc), and a live HLS
folder that ffmpeg keeps writing. A test switches the two off and on, and the publisher as well."""

import asyncio
import contextlib
import fractions
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from aiohttp import web
from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import AudioStreamTrack
from av import AudioFrame, VideoFrame

from media.stream import Phase
from tests.support.signaling import FakeLiveRooms

ROOM = "demo"
SIZE = (640, 360)
RATE = 25


class Picture(VideoStreamTrack):
    """A bar that moves over a ground that changes; stands still while `flowing` is not set."""

    def __init__(self, flowing: asyncio.Event) -> None:
        super().__init__()
        self._flowing = flowing
        self._start = time.monotonic()
        self._count = 0

    async def recv(self) -> VideoFrame:
        self._count += 1
        await asyncio.sleep(max(0.0, self._start + self._count / RATE - time.monotonic()))
        await self._flowing.wait()
        width, height = SIZE
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, :, 1] = np.arange(width, dtype=np.uint16)[None, :] % 200
        at = (self._count * 8) % (width - 40)
        pixels[:, at : at + 40] = (255, 220, 40)
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = round((time.monotonic() - self._start) * 90_000)
        frame.time_base = fractions.Fraction(1, 90_000)
        return frame


class Tone(AudioStreamTrack):
    """440 Hz, 20 ms a frame; silent while nothing flows."""

    def __init__(self, flowing: asyncio.Event) -> None:
        super().__init__()
        self._flowing = flowing
        self._start = time.monotonic()
        self._count = 0

    async def recv(self) -> AudioFrame:
        self._count += 1
        await asyncio.sleep(max(0.0, self._start + self._count / 50 - time.monotonic()))
        await self._flowing.wait()
        at = (np.arange(960) + self._count * 960) / 48_000
        wave = (np.sin(2 * np.pi * 440 * at) * 8000).astype(np.int16)
        frame = AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.sample_rate = 48_000
        frame.pts = self._count * 960
        frame.time_base = fractions.Fraction(1, 48_000)
        return frame


class Broadcast:
    """`whep` is the state of that way: open; "blocked" (404); "unreachable" (no ICE candidate of it
    can be reached)."""

    def __init__(self, live: FakeLiveRooms, folder: Path) -> None:
        self._live = live
        self.folder = folder
        self.whep = "open"
        self.hls = "open"
        self.posts = 0
        self.deletes = 0
        self.playlists = 0
        self.flowing = asyncio.Event()
        self.changed = asyncio.Condition()
        self._peers: dict[str, RTCPeerConnection] = {}

    @property
    def sessions(self) -> int:
        return len(self._peers)

    def go_live(self) -> None:
        self._live.go_live(ROOM)
        self._live.counts[ROOM] = 7
        self.flowing.set()

    def lose_publisher(self) -> None:
        self._live.go_live(ROOM, phase=Phase.GRACE)
        self.flowing.clear()

    async def end(self) -> None:
        """The grace period is over: sessions are closed, as a server does."""
        self._live.statuses.pop(ROOM, None)
        self.flowing.clear()
        await self.close()

    async def close(self) -> None:
        peers = list(self._peers.values())
        self._peers.clear()
        for peer in peers:
            await peer.close()

    def stall(self) -> None:
        """Frames stop although the room is live."""
        self.flowing.clear()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/whep/{room}", self._post),
            web.delete("/whep/session/{id}", self._delete),
            web.get("/hls/{room}/{file}", self._hls),
        ]

    async def _post(self, request: web.Request) -> web.Response:
        self.posts += 1
        offer = await request.text()
        if self.whep == "blocked" or request.match_info["room"] != ROOM:
            return web.Response(status=404)
        if self._live.status(ROOM) is None:
            return web.Response(status=409, headers={"Retry-After": "2"})
        peer = RTCPeerConnection()
        # Browsers send no candidates, since Vitrine needs none; aiortc is no ICE-lite peer and
        # wants one to begin with.
        aim = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
        if self.whep != "unreachable":
            offer = re.sub(r"(a=ice-ufrag:[^\r\n]*\r\n)", r"\1" + aim, offer)
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        for transceiver in peer.getTransceivers():
            self._send_over(transceiver)
        await peer.setLocalDescription(await peer.createAnswer())
        session = secrets.token_hex(16)
        self._peers[session] = peer
        answer = peer.localDescription.sdp
        if self.whep == "unreachable":
            answer = re.sub(r"a=candidate:.*\r\n", "", answer) + aim
        return web.Response(
            status=201,
            text=answer,
            content_type="application/sdp",
            headers={"Location": f"/whep/session/{session}"},
        )

    def _send_over(self, transceiver: RTCRtpTransceiver) -> None:
        track: MediaStreamTrack
        track = Picture(self.flowing) if transceiver.kind == "video" else Tone(self.flowing)
        transceiver.sender.replaceTrack(track)
        transceiver.direction = "sendonly"

    async def _delete(self, request: web.Request) -> web.Response:
        self.deletes += 1
        peer = self._peers.pop(request.match_info["id"], None)
        if peer is None:
            return web.Response(status=404)
        await peer.close()
        async with self.changed:
            self.changed.notify_all()
        return web.Response()

    async def _hls(self, request: web.Request) -> web.StreamResponse:
        path = self.folder / request.match_info["file"]
        found = await asyncio.to_thread(path.is_file)
        if self.hls != "open" or request.match_info["room"] != ROOM or not found:
            raise web.HTTPNotFound
        self.playlists += path.suffix == ".m3u8"
        types = {".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/iso.segment"}
        headers = {"Content-Type": types.get(path.suffix, "video/mp4"), "Cache-Control": "no-cache"}
        return web.FileResponse(path, headers=headers)


@asynccontextmanager
async def live_hls(folder: Path) -> AsyncIterator[None]:
    """ffmpeg writes a live playlist of one-second segments into `folder`."""
    width, height = SIZE
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-hide_banner", "-loglevel", "error", "-re"),
        *("-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate={RATE}"),
        *("-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(RATE)),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "hls", "-hls_time", "1"),
        *("-hls_segment_type", "fmp4", "-hls_list_size", "6"),
        *("-hls_flags", "delete_segments+program_date_time+independent_segments"),
        str(folder / "index.m3u8"),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            # A file that appears is all that ffmpeg tells.
            while not await asyncio.to_thread((folder / "index.m3u8").exists):
                await asyncio.sleep(0.1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
