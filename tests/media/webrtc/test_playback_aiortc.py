"""A whole other implementation as the viewer: what we send can be decoded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

from media.webrtc.srtp import SrtpProfile
from scripts.bench.clip import Loop, clip
from tests.support.webrtc import Site, site, until


class AiortcViewer:
    """A receive-only peer that counts what it decodes."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.frames: list[VideoFrame] = []
        self.sounds: list[AudioFrame] = []
        self.session = ""
        self.answer = ""
        self._tasks: list[asyncio.Task[None]] = []
        self.connection.on("track", self._on_track)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.create_task(self._drain(track)))

    async def _drain(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, VideoFrame):
                self.frames.append(frame)
            elif isinstance(frame, AudioFrame):
                self.sounds.append(frame)

    async def watch(self, where: Site, room: str = "demo") -> None:
        self.connection.addTransceiver("audio", direction="recvonly")
        self.connection.addTransceiver("video", direction="recvonly")
        await self.connection.setLocalDescription(await self.connection.createOffer())
        async with where.client.post(
            where.whep(room),
            data=self.connection.localDescription.sdp,
            headers={"Content-Type": "application/sdp"},
        ) as response:
            assert response.status == 201, await response.text()
            self.answer = await response.text()
            self.session = where.url + response.headers["Location"]
        await self.connection.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))

    async def close(self) -> None:
        await self.connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def watching(where: Site, room: str = "demo") -> AsyncIterator[AiortcViewer]:
    viewer = AiortcViewer()
    await viewer.watch(where, room)
    try:
        yield viewer
    finally:
        await viewer.close()


async def test_picture_and_sound_are_decoded(tmp_path: Path) -> None:
    async with site(tmp_path) as where:
        source = Loop(where.hub, "demo", clip())
        async with watching(where) as viewer:
            await until(lambda: len(viewer.frames) >= 90 and len(viewer.sounds) >= 100)

            picture = viewer.frames[-1].to_ndarray(format="gray")
            assert picture.shape == (240, 320)
            assert picture.std() > 10
            sound = viewer.sounds[-1].to_ndarray()
            assert abs(sound.astype(float)).max() > 5_000
            (stats,) = where.service.viewer_stats("demo")
            assert stats.profile in (SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AEAD_AES_256_GCM)
            assert where.service.viewers("demo") == 1
        await source.stop()
