// The viewer's page: the player, what is said about the room, and the buttons.

import { call } from "/web/api.js";
import { Player } from "/web/player/player.js";
import { text, translate } from "/web/text.js";

const SOUND = "vitrine.sound";
const POLL_TIMEOUT = 2000;

const slug = location.pathname.split("/")[2] ?? ""; // as it is: a proper one needs no escapes
const at = (id) => document.getElementById(id);
const container = at("player");
const videos = { webrtc: at("webrtc"), hls: at("hls") };
let room = null;

async function poll() {
  try {
    room = await call(`/rooms/${slug}`, { timeout: POLL_TIMEOUT });
    return room.phase;
  } catch (error) {
    if (error.status !== 404) return "unknown";
    room = null;
    return "missing";
  } finally {
    draw();
  }
}

const player = new Player({
  container,
  elements: videos,
  whep: `/whep/${slug}`,
  hls: `/hls/${slug}/index.m3u8`,
  poll,
});

// Only what changed is written: a screen reader reads out every change of a live region.
function put(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function messages() {
  const { state, phase } = player;
  if (phase === "grace" && (state === "reconnecting" || state === "connecting")) {
    return [text.reconnecting, text.hostAway];
  }
  if (state === "waiting") return [text.waiting, text.waitingHint];
  if (state === "missing") return [text.missing, text.missingHint];
  return [{ idle: "", playing: "" }[state] ?? text[state], ""];
}

function drawPlayer() {
  const [message, hint] = messages();
  put(at("message"), message);
  put(at("hint"), hint);
  const { transport, figures } = player;
  const playing = player.state === "playing";
  const via = transport === "hls" ? text.viaHls : text.viaWebrtc;
  const latency = figures?.latency ? ` · ${text.latency(figures.latency)}` : "";
  put(at("status"), playing ? via + latency : "");
  const sound = at("sound");
  sound.classList.toggle("is-on", player.sound);
  sound.setAttribute("aria-label", player.sound ? text.mute : text.soundOn);
  put(at("sound-label"), player.sound ? text.mute : text.soundOn);
}

function draw() {
  put(at("title"), room?.title ?? "");
  document.title = room ? `${room.title} · Vitrine` : "Vitrine";
  const badge = at("badge");
  badge.hidden = room === null;
  badge.className = room?.phase === "live" ? "badge live" : "badge";
  put(badge, { live: text.live, grace: text.away }[room?.phase] ?? text.offline);
  // Those who watch by HLS are not counted, so none is no news.
  put(at("viewers"), room?.viewers ? text.viewers(room.viewers) : "");
}

function remember(sound) {
  try {
    localStorage.setItem(SOUND, sound ? "on" : "off");
  } catch {
    // Private windows may have no storage; the choice then lasts as long as the page.
  }
}

function remembered() {
  try {
    return localStorage.getItem(SOUND) === "on";
  } catch {
    return false;
  }
}

async function toggleSound() {
  remember(await player.setSound(!player.sound));
}

function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else container.requestFullscreen();
}

translate();
player.addEventListener("change", drawPlayer);
at("sound").addEventListener("click", toggleSound);
at("play").addEventListener("click", () => player.unblock());
at("fullscreen").hidden = !document.fullscreenEnabled;
at("fullscreen").addEventListener("click", toggleFullscreen);
document.addEventListener("visibilitychange", () => player.setVisible(!document.hidden));
addEventListener("online", () => player.setOnline(true));
addEventListener("offline", () => player.setOnline(false));
addEventListener("pagehide", () => player.stop());
addEventListener("pageshow", (event) => event.persisted && player.start());

// For whoever looks for a fault, and for tests: what the player is doing.
window.vitrine = {
  get state() {
    return player.state;
  },
  get transport() {
    return player.transport;
  },
  get history() {
    return player.history;
  },
  get room() {
    return room;
  },
  stats: () => player.stats(),
};

draw();
player.setSound(remembered());
// Videos that wait for their first frame hold up the page's load event, and with it the browser's
// sign that the page is there. All that the page needs has been loaded by now, so this costs nothing.
if (document.readyState === "complete") player.start();
else addEventListener("load", () => player.start(), { once: true });
