"""The full addresses that people type into OBS and browsers open."""

import re
from dataclasses import dataclass, replace
from typing import Final

from signaling.entities import Room

_HOST: Final = re.compile(r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?\Z")


@dataclass(frozen=True, slots=True)
class Addresses:
    """`host` as others reach it, an IPv6 one in brackets. `public_url` (``https://live.example``)
    replaces ``http://host:http_port`` where a proxy or CDN stands in front. `srt_passphrase` is
    asked of callers whose room has none of its own."""

    host: str
    http_port: int
    rtmp_port: int
    srt_port: int
    public_url: str = ""
    rtmps: bool = False
    srt_passphrase: str = ""

    def seen_from(self, host_header: str) -> "Addresses":
        """The same with the host by which a client came, unless a public URL is set: the host in
        the settings may be a name that only this machine knows. A strange header is ignored."""
        match = _HOST.match(host_header)
        if self.public_url or match is None:
            return self
        return replace(self, host=match["host"])

    @property
    def http(self) -> str:
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.http_port}"

    @property
    def rtmp_server(self) -> str:
        return f"{'rtmps' if self.rtmps else 'rtmp'}://{self.host}:{self.rtmp_port}/live"

    @property
    def srt_server(self) -> str:
        return f"srt://{self.host}:{self.srt_port}"

    def rtmp_stream_key(self, room: str, key: str) -> str:
        """What goes into OBS's field "stream key"."""
        return f"{room}?key={key}"

    def rtmp(self, room: str, key: str) -> str:
        return f"{self.rtmp_server}/{self.rtmp_stream_key(room, key)}"

    def srt(self, room: Room, key: str) -> str:
        """OBS and ffmpeg take everything behind ``streamid=`` up to the next ``&``."""
        address = f"{self.srt_server}?streamid=#!::m=publish,r={room.slug},s={key}"
        passphrase = room.srt_passphrase or self.srt_passphrase
        return address + (f"&passphrase={passphrase}" if passphrase else "")

    def whip(self, room: str) -> str:
        return f"{self.http}/whip/{room}"

    def whep(self, room: str) -> str:
        return f"{self.http}/whep/{room}"

    def hls(self, room: str) -> str:
        return f"{self.http}/hls/{room}/index.m3u8"

    def page(self, room: str) -> str:
        return f"{self.http}/r/{room}"
