// The list of rooms: those that are live come first, and the list keeps itself up to date.

import { call } from "/web/api.js";
import { text, translate } from "/web/text.js";

const REFRESH = 10000;
const list = document.getElementById("rooms");
const note = document.getElementById("note");
const more = document.getElementById("more");
let pages = 1;
let timer = null;

async function load() {
  const live = await call("/rooms?live=true&limit=100");
  const found = new Map(live.rooms.map((room) => [room.slug, room]));
  let next = "";
  for (let page = 0; page < pages && next !== null; page += 1) {
    const answer = await call(`/rooms?limit=50&after=${encodeURIComponent(next)}`);
    for (const room of answer.rooms) found.set(room.slug, room);
    next = answer.next;
  }
  more.hidden = next === null;
  return [...found.values()].sort(
    (a, b) => b.live - a.live || b.viewers - a.viewers || a.title.localeCompare(b.title),
  );
}

function card(room) {
  const link = document.createElement("a");
  link.className = room.live ? "card live" : "card";
  link.href = `/r/${room.slug}`;
  const title = document.createElement("h2");
  title.textContent = room.title;
  const line = document.createElement("p");
  line.className = "line";
  const badge = document.createElement("span");
  badge.className = room.phase === "live" ? "badge live" : "badge";
  badge.textContent = { live: text.live, grace: text.away }[room.phase] ?? text.offline;
  const viewers = document.createElement("span");
  viewers.textContent = room.viewers ? text.viewers(room.viewers) : "";
  line.append(badge, viewers);
  link.append(title, line);
  const item = document.createElement("li");
  item.append(link);
  return item;
}

let shown = "";

async function refresh() {
  clearTimeout(timer);
  try {
    const rooms = await load();
    note.textContent = rooms.length ? "" : text.noRooms;
    // Cards are laid anew only when something changed: a finger may be on one.
    const state = JSON.stringify(rooms);
    if (state !== shown) {
      const focused = document.activeElement?.getAttribute("href");
      list.replaceChildren(...rooms.map(card));
      if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
      shown = state;
    }
  } catch {
    note.textContent = text.apiAway;
  }
  list.setAttribute("aria-busy", "false");
  if (!document.hidden) timer = setTimeout(refresh, REFRESH);
}

translate();
more.addEventListener("click", () => {
  pages += 1;
  refresh();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});
refresh();
