// The shell around state.js: two <video>s, one for each leg, a clock, and a loop.

import { HlsSession } from "./hls.js";
import { Playback } from "./state.js";
import { WhepMeter, WhepSession } from "./whep.js";

const TICK = 500;

export class Player extends EventTarget {
  // `elements`: {webrtc, hls} videos inside `container`, whose data-state and data-transport follow
  // the player. `poll()` resolves to a room's phase (live|grace|offline|missing|unknown).
  // Fires "change" when state, transport, sound or figures may have changed.
  constructor({ container, elements, whep, hls, poll }) {
    super();
    this._container = container;
    this._videos = elements;
    this._urls = { whep, hls };
    this._poll = poll;
    this._playback = new Playback();
    this._sessions = { webrtc: null, hls: null };
    this._meter = null;
    this._timer = null;
    this._figures = { webrtc: null, hls: null };
    this._sound = false;
    this._reading = false;
    this.history = []; // the last changes, for whoever looks for a fault
    for (const video of Object.values(this._videos)) {
      video.muted = true;
      video.playsInline = true;
      video.disableRemotePlayback = true;
    }
  }

  get state() {
    return this._playback.state;
  }

  get phase() {
    return this._playback.phase;
  }

  get transport() {
    return this._playback.shown;
  }

  get sound() {
    return this._sound;
  }

  // Figures of the leg that is shown: {latency, frames, width, height, ...}, or null.
  get figures() {
    return this.transport ? this._figures[this.transport] : null;
  }

  stats() {
    return { state: this.state, transport: this.transport, phase: this.phase, ...this.figures };
  }

  start() {
    if (this._timer !== null) return;
    this._timer = setInterval(() => this._tick(), TICK);
    this._send({ type: "visible", visible: !document.hidden });
    this._send({ type: "online", online: navigator.onLine });
    this._send({ type: "start" });
  }

  stop() {
    clearInterval(this._timer);
    this._timer = null;
    this._send({ type: "stop" });
  }

  setVisible(visible) {
    this._send({ type: "visible", visible });
  }

  setOnline(online) {
    this._send({ type: "online", online });
  }

  // Asks for sound; from a click it is always given. Resolves to whether there is sound now.
  async setSound(on) {
    this._sound = on;
    this._applySound();
    const video = this._videos[this.transport ?? "webrtc"];
    if (on && video.paused && this.transport) await this._play(video);
    this._changed();
    return this._sound;
  }

  // From a click, where the browser would not start by itself.
  async unblock() {
    const videos = Object.entries(this._videos).filter(([leg]) => this._sessions[leg]);
    await Promise.all(videos.map(([, video]) => this._play(video)));
  }

  _send(event) {
    this._playback.receive(event, performance.now());
    for (const command of this._playback.takeCommands()) this._obey(command);
    this._changed();
  }

  _obey(command) {
    if (command.type === "open") this._open(command.leg);
    else if (command.type === "close") this._close(command.leg);
    else if (command.type === "show") this._applySound();
    else if (command.type === "poll") this._ask();
  }

  async _ask() {
    this._send({ type: "room", phase: await this._poll() });
  }

  async _open(leg) {
    const video = this._videos[leg];
    const onLost = (reason, detail) => this._lost(leg, session, { reason, detail });
    const session =
      leg === "webrtc"
        ? new WhepSession(this._urls.whep, { onLost })
        : new HlsSession(this._urls.hls, video, { onLost });
    this._sessions[leg] = session;
    this._figures[leg] = null;
    if (leg === "webrtc") {
      this._meter = new WhepMeter();
      video.srcObject = session.stream;
    }
    try {
      await session.open();
    } catch (error) {
      const { reason = "refused", retryAfter = null } = error;
      session.close();
      this._lost(leg, session, { reason, retryAfter, detail: error.message });
      return;
    }
    if (this._sessions[leg] === session) await this._play(video);
  }

  _close(leg) {
    const session = this._sessions[leg];
    this._sessions[leg] = null;
    this._figures[leg] = null;
    session?.close();
    if (leg === "webrtc") this._videos.webrtc.srcObject = null;
  }

  _lost(leg, session, { reason, retryAfter = null, detail = "" }) {
    if (this._sessions[leg] !== session) return;
    this._note(`${leg} ${reason} ${detail}`.trim());
    this._send({ type: "failed", leg, reason, retryAfter });
    // The state machine lets go of a leg that failed, and its "close" has come by now.
  }

  async _play(video) {
    try {
      await video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return;
      if (!video.muted) {
        // Sound is not allowed yet: a silent picture is better than none.
        this._sound = false;
        this._applySound();
        await this._play(video);
        return;
      }
      this._send({ type: "blocked", blocked: true });
      return;
    }
    this._send({ type: "blocked", blocked: false });
  }

  // Only the leg that is shown may be heard.
  _applySound() {
    for (const [leg, video] of Object.entries(this._videos)) {
      const shown = leg === this.transport;
      video.muted = !(this._sound && shown);
      video.classList.toggle("shown", shown);
      // The browser pauses a video that is unmuted without its leave.
      if (shown && this._sound && video.paused && this._sessions[leg]) this._play(video);
    }
  }

  async _tick() {
    if (this._reading) return;
    this._reading = true;
    try {
      await this._read();
    } finally {
      this._reading = false;
    }
    if (this._timer !== null) this._send({ type: "tick" });
  }

  async _read() {
    for (const leg of ["webrtc", "hls"]) {
      const session = this._sessions[leg];
      if (!session || (leg === "webrtc" && !session.connection)) continue;
      const figures =
        leg === "webrtc" ? await this._meter.read(session.connection) : session.read();
      if (this._sessions[leg] !== session) continue;
      figures.latency ??= this._figures[leg]?.latency ?? null;
      this._figures[leg] = figures;
      this._send({ type: "progress", leg, count: figures.frames });
    }
  }

  _changed() {
    const { state } = this;
    const transport = this.transport ?? "";
    const { dataset } = this._container;
    if (dataset.state !== state || dataset.transport !== transport) {
      dataset.state = state;
      dataset.transport = transport;
      this._note(`${state} ${transport}`.trim());
    }
    this.dispatchEvent(new Event("change"));
  }

  _note(text) {
    this.history.push({ at: Math.round(performance.now()), text });
    if (this.history.length > 100) this.history.shift();
  }
}
