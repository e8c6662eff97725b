// The host's page: where to publish to, whether it works, and what could be better.

import { call } from "/web/api.js";
import { text, translate } from "/web/text.js";

const TOKEN = "vitrine.token";
const REFRESH = 5000;

const at = (id) => document.getElementById(id);
const signIn = at("sign-in");
const studio = at("studio");
const newRoom = at("new-room");
const list = at("rooms");
const panels = new Map(); // slug -> {element, ingest}: the key is shown while the page is open
// A session of the tab, not of the browser: a studio is often opened on somebody else's machine.
let token = sessionStorage.getItem(TOKEN);
let timer = null;

function show() {
  signIn.hidden = token !== null;
  studio.hidden = at("sign-out").hidden = token === null;
}

function signOut() {
  clearTimeout(timer);
  token = null;
  sessionStorage.removeItem(TOKEN);
  panels.clear();
  list.replaceChildren();
  show();
}

async function submit(form, action) {
  const button = form.querySelector("button[type=submit]");
  const error = form.querySelector(".error");
  error.textContent = "";
  button.disabled = true;
  try {
    await action(Object.fromEntries(new FormData(form)));
    form.reset();
  } catch (problem) {
    error.textContent = problem.message;
  } finally {
    button.disabled = false;
  }
}

async function enter(credentials) {
  const answer = await call("/auth/login", { method: "POST", body: credentials });
  if (answer.user.role === "viewer") throw new Error(text.viewersOnly);
  token = answer.access_token;
  sessionStorage.setItem(TOKEN, token);
  show();
  await refresh();
}

async function open(fields) {
  const keyed = await call("/rooms", { method: "POST", body: fields, token });
  panelOf(keyed.slug).ingest = keyed.ingest;
  await refresh();
}

async function rotate(slug) {
  if (!confirm(text.newKeySure)) return;
  const panel = panelOf(slug);
  const error = panel.element.querySelector(".error");
  error.textContent = "";
  try {
    const path = `/rooms/${slug}/stream-key/rotate`;
    panel.ingest = (await call(path, { method: "POST", token })).ingest;
    await refresh();
  } catch (problem) {
    error.textContent = problem.message;
  }
}

function panelOf(slug) {
  let panel = panels.get(slug);
  if (panel) return panel;
  const element = at("room-panel").content.firstElementChild.cloneNode(true);
  translate(element);
  element.querySelector("a").href = `/r/${slug}`;
  element.querySelector(".rotate").addEventListener("click", () => rotate(slug));
  panel = { element, ingest: null };
  panels.set(slug, panel);
  list.append(element);
  return panel;
}

function draw(room) {
  const panel = panelOf(room.slug);
  const find = (selector) => panel.element.querySelector(selector);
  find("h2").textContent = room.title;
  const badge = find(".badge");
  badge.className = room.phase === "live" ? "badge live" : "badge";
  badge.textContent = { live: text.live, grace: text.away }[room.phase] ?? text.offline;
  const { publisher } = room;
  const picture = room.renditions.find((rendition) => rendition.kind === "video");
  find(".state").textContent = [
    publisher && text.publishing(publisher.protocol.toUpperCase(), publisher.encoder),
    picture && `${picture.width}×${picture.height} ${picture.codec}`,
    room.live && text.viewers(room.viewers),
  ]
    .filter(Boolean)
    .join(" · ");
  find(".notices").replaceChildren(
    ...room.notices.map((notice) => {
      const item = document.createElement("li");
      item.textContent = notice.message;
      return item;
    }),
  );
  drawSetup(panel, room);
}

function drawSetup(panel, room) {
  const { ingest } = panel;
  const rows = ingest
    ? [
        [text.rtmpServer, ingest.rtmp_server],
        [text.rtmpKey, ingest.rtmp_stream_key],
        [text.srt, ingest.srt],
      ]
    : [
        [text.rtmpServer, room.servers.rtmp],
        [text.rtmpKey, `${room.slug}?key=…`],
        [text.srt, `${room.servers.srt}?streamid=#!::m=publish,r=${room.slug},s=…`],
      ];
  const setup = panel.element.querySelector(".setup");
  const state = JSON.stringify(rows);
  if (setup.dataset.rows === state) return; // somebody may be selecting
  setup.dataset.rows = state;
  setup.replaceChildren(...rows.flatMap(([name, value]) => row(name, value, ingest !== null)));
  panel.element.querySelector(".key-hint").textContent = ingest ? text.keyOnce : text.keyHint;
}

function row(name, value, whole) {
  const term = document.createElement("dt");
  term.textContent = name;
  const code = document.createElement("code");
  code.textContent = value;
  const description = document.createElement("dd");
  description.append(code);
  if (whole && navigator.clipboard) {
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "button quiet";
    copy.textContent = text.copy;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(value);
      copy.textContent = text.copied;
    });
    description.append(copy);
  }
  return [term, description];
}

async function refresh() {
  clearTimeout(timer);
  try {
    let next = "";
    while (next !== null) {
      const page = await call(`/rooms?limit=100&after=${next}`, { token });
      page.rooms.filter((room) => room.notices).forEach(draw);
      next = page.next;
    }
  } catch (problem) {
    if (problem.status === 401) {
      signOut();
      return;
    }
  }
  if (token !== null && !document.hidden) timer = setTimeout(refresh, REFRESH);
}

translate();
signIn.addEventListener("submit", (event) => {
  event.preventDefault();
  submit(signIn, enter);
});
newRoom.addEventListener("submit", (event) => {
  event.preventDefault();
  submit(newRoom, open);
});
at("sign-out").addEventListener("click", signOut);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && token !== null) refresh();
});
show();
if (token !== null) refresh();
