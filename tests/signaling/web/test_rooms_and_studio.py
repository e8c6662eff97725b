"""The list of rooms and the studio in Chromium."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Page

from media.stream import Notice
from signaling.entities import Role
from signaling.pages import PageServer
from tests.support.browser import chromium
from tests.support.signaling import PASSWORD, Signaling, open_signaling
from tests.support.signaling_pages import open_page, until

pytestmark = pytest.mark.external


@asynccontextmanager
async def opened(path: str) -> AsyncIterator[tuple[Page, Signaling]]:
    async with open_signaling() as signaling:
        application = signaling.application(*PageServer().routes())
        async with TestServer(application) as server, chromium() as browser:
            async with open_page(browser) as (page, faults):
                ada = await signaling.accounts.add("ada", PASSWORD, Role.HOST)
                await signaling.rooms.open("alpha", "Alpha <b>bold</b>", owner=ada)
                await signaling.rooms.open("omega", "Omega", owner=None)
                signaling.live.go_live("omega")
                signaling.live.counts["omega"] = 3
                await page.goto(str(server.make_url(path)))
                yield page, signaling
            assert faults == []


async def test_live_rooms_come_first_and_a_card_leads_to_its_room() -> None:
    async with opened("/") as (page, _):
        await page.wait_for_selector(".card")

        assert await page.locator(".card h2").all_inner_texts() == ["Omega", "Alpha <b>bold</b>"]
        assert "3 viewers" in await page.inner_text(".card.live")
        await page.click(".card.live")
        await page.wait_for_url("**/r/omega")
        assert await until(page, "window.vitrine?.room?.slug === 'omega'")
        assert await page.title() == "Omega · Vitrine"


async def test_nothing_to_tap_is_smaller_than_a_finger() -> None:
    async with opened("/r/omega") as (page, _):
        # In one go, for the player sets its state anew with every tick.
        sizes: dict[str, list[float]] = await page.evaluate(
            """(() => {
              document.getElementById("player").dataset.state = "playing";
              const controls = [...document.querySelectorAll("a, button")];
              const boxes = controls.map((one) => [one.id, one.getBoundingClientRect()]);
              const seen = boxes.filter(([, box]) => box.width);
              return Object.fromEntries(seen.map(([id, box]) => [id, [box.width, box.height]]));
            })()"""
        )

        assert set(sizes) == {"", "sound", "fullscreen"}
        assert min(min(size) for size in sizes.values()) >= 44, sizes
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("size", [(320, 568), (390, 844), (844, 390), (1280, 800)])
async def test_the_stage_fits_the_screen_and_hides_nothing(size: tuple[int, int]) -> None:
    async with opened("/r/omega") as (page, _):
        await page.set_viewport_size({"width": size[0], "height": size[1]})
        assert await until(page, "document.getElementById('title').textContent === 'Omega'")
        boxes: dict[str, list[float]] = await page.evaluate(
            """(() => {
              document.getElementById("player").dataset.state = "playing";
              const read = (id) => {
                const box = document.getElementById(id).getBoundingClientRect();
                return [box.left, box.top, box.right, box.bottom];
              };
              return Object.fromEntries(["player", "sound", "title"].map((id) => [id, read(id)]));
            })()"""
        )

        scrolls = "document.documentElement.scrollWidth > innerWidth || scrollY > 0"
        assert not await page.evaluate(scrolls)
        for left, top, right, bottom in boxes.values():
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]
        assert boxes["title"][3] <= boxes["sound"][1] or boxes["title"][1] >= boxes["sound"][3]


async def test_a_room_that_is_not_there_leads_to_those_that_are() -> None:
    async with opened("/r/none") as (page, _):
        await page.wait_for_selector("#player[data-state=missing]")

        await page.get_by_role("link", name="See all rooms").click()

        await page.wait_for_selector(".card")


async def test_a_host_signs_in_sees_what_is_wrong_and_gets_a_new_key() -> None:
    async with opened("/studio") as (page, signaling):
        await page.fill("[name=username]", "ada")
        await page.fill("[name=password]", "wrong")
        await page.click("#sign-in button")
        assert await until(
            page,
            "document.querySelector('.error').textContent === 'wrong username or password'",
        )

        notice = Notice("b_frames", "Switch off B-frames in your encoder.")
        signaling.live.go_live("alpha", notices=(notice,))
        await page.fill("[name=password]", PASSWORD)
        await page.click("#sign-in button")
        await page.wait_for_selector("article")
        assert await page.locator("article h2").all_inner_texts() == ["Alpha <b>bold</b>"]
        assert "Switch off B-frames" in await page.inner_text("article .notices")
        assert "alpha?key=…" in await page.inner_text("article .setup")

        page.on("dialog", lambda dialog: dialog.accept())
        await page.click("article .rotate")
        assert await until(
            page, "/alpha\\?key=[A-Za-z0-9]{24}/.test(document.querySelector('.setup').textContent)"
        )
        key = (await page.locator(".setup code").nth(1).inner_text()).partition("key=")[2]
        assert (await signaling.keys.grant("alpha", key)).room == "alpha"
        assert signaling.live.kicked == ["alpha"]


async def test_a_host_opens_a_room() -> None:
    async with opened("/studio") as (page, signaling):
        await page.fill("[name=username]", "ada")
        await page.fill("[name=password]", PASSWORD)
        await page.click("#sign-in button")
        await page.wait_for_selector("article")

        await page.fill("[name=slug]", "fresh")
        await page.fill("[name=title]", "Fresh fruit")
        await page.click("#new-room button")

        assert await until(page, "document.querySelectorAll('article').length === 2")
        assert (await signaling.rooms.get("fresh")).title == "Fresh fruit"
        srt = await page.locator("article:has-text('Fresh fruit') code").nth(2).inner_text()
        assert "?streamid=#!::m=publish,r=fresh,s=" in srt
