"""Headless Chromium, Debian's, driven by Playwright."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from playwright.async_api import Browser, Page, async_playwright

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@asynccontextmanager
async def chromium(*extra: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*FLAGS, *extra]
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_at(url: str, *extra: str) -> AsyncIterator[Page]:
    """A phone-sized page at `url`."""
    async with chromium(*extra) as browser:
        page = await browser.new_page(viewport={"width": 390, "height": 844})
        await page.add_init_script(REMEMBER_CONNECTIONS)
        await page.goto(url)
        yield page


REMEMBER_CONNECTIONS: Final = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...args) { super(...args); window.connections.push(this); }
};
"""

_READ: Final = """
async () => {
  const connection = window.connections.at(-1);
  if (!connection) return null;
  const found = {state: connection.connectionState};
  for (const entry of (await connection.getStats()).values()) {
    if (entry.type === "transport") found.transport = entry;
    if (entry.type === "inbound-rtp") found[entry.kind] = entry;
    if (entry.type === "codec") found[entry.mimeType] = entry;
  }
  return found;
}
"""


async def rtc_stats(page: Page) -> dict[str, Any]:
    """What the newest connection of the page reports: state, transport, video, audio."""
    return cast("dict[str, Any]", await page.evaluate(_READ) or {})


async def player(page: Page) -> dict[str, Any]:
    """The viewer page's own figures."""
    return cast("dict[str, Any]", await page.evaluate("() => window.vitrine.stats()"))


async def wait_playing(page: Page, transport: str, *, timeout_s: float = 30) -> None:
    await page.wait_for_function(
        "transport => { const {state, transport: now, framesDecoded, frames} ="
        " window.vitrine.stats(); return state === 'playing' && now === transport"
        " && (framesDecoded ?? frames) > 0; }",
        arg=transport,
        timeout=timeout_s * 1000,
    )
