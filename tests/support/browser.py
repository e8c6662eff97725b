"""Headless Chromium, Debian's, driven by Playwright."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

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
        await page.goto(url)
        yield page
