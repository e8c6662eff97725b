"""Pages of Vitrine in Chromium: each in a profile of its own, watched for faults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page

PHONE = (390, 844)
DESKTOP = (1280, 800)


@asynccontextmanager
async def open_page(
    browser: Browser, *, size: tuple[int, int] = PHONE, language: str = "en-US"
) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page of its own profile, and what its console says of errors and broken policies."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale=language
    )
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    try:
        yield page, faults
    finally:
        await context.close()


async def until(page: Page, condition: str, *, seconds: float = 20) -> bool:
    """Waits in the page until the JavaScript expression holds; False when it did not in time.

    playwright's `wait_for_function` calls `eval`, which the policy of our pages forbids.
    """
    held = await page.evaluate(
        f"""(async () => {{
          const end = performance.now() + {1000 * seconds};
          while (!({condition})) {{
            if (performance.now() > end) return false;
            await new Promise((resolve) => setTimeout(resolve, 50));
          }}
          return true;
        }})()"""
    )
    return bool(held)
