// What the viewer's player does when, without a DOM, a clock or a network of its own.
//
// There are two legs, WebRTC and HLS; each is off, opening, up (frames were seen) or stalled (no new
// frame for STALL). The aim is a picture, and WebRTC's where it can be had:
//
// - WebRTC opens first. When it gives no picture within STALL, HLS opens beside it, and WebRTC may
//   still come in until GIVE_UP; the first leg with frames is shown.
// - While HLS is shown, WebRTC is tried again after a pause that doubles. HLS is closed only when
//   WebRTC has had frames for STEADY (longer when it has stalled before), so that a good picture is
//   never given up for a hope.
// - A picture that stops may mean a bad path or that the publisher is away. The two are told apart
//   by asking the API (`doubt`): nothing new is opened before it has answered. In `grace` the legs
//   are kept, for the stream goes on in them. `offline` closes them, and the API is asked again
//   and again, with pauses that grow, until there is something to watch.
//
// Events come in with the time in milliseconds; commands go out by `takeCommands`:
//   {type: "open"|"close", leg}, {type: "show", leg|null}, {type: "poll"}
// A poll is answered by an event {type: "room", phase}, also when it failed (phase "unknown").

export const STALL = 3000;
export const HINT = 1000; // so long without a frame, and the API is asked whether it knows why
export const GIVE_UP = 12000;
export const STEADY = 1000;
export const GOOD = 30000;

const QUICK = { first: 1000, longest: 10000 };
const BACKGROUND = { first: 5000, longest: 60000 };
const POLL_PLAYING = 10000;
const POLL_TROUBLE = { first: 1000, longest: 5000 };
const POLL_WAITING = { first: 1500, longest: 10000 };
const POLL_MISSING = 30000;

class Leg {
  constructor(name) {
    this.name = name;
    this.failures = 0;
    this.stalls = 0; // since frames last came for GOOD
    this.retryAt = 0;
    this.reset();
  }

  reset() {
    this.on = false;
    this.openedAt = 0;
    this.count = 0;
    this.progressAt = 0; // of the newest frame, or of the opening
    this.hintedAt = 0;
    this.risingSince = null; // since when frames come without a stall; null: they do not
  }

  open(now) {
    this.reset();
    this.on = true;
    this.openedAt = this.progressAt = now;
  }

  // Begins a new wait for frames, as if just opened.
  pardon(now) {
    if (this.on) this.openedAt = this.progressAt = now;
  }

  quietFor(now) {
    return now - this.progressAt;
  }

  get up() {
    return this.on && this.risingSince !== null;
  }
}

export class Playback {
  // `random()` in [0, 1) spreads viewers who all lost the same stream.
  constructor({ random = Math.random } = {}) {
    this._random = random;
    this._webrtc = new Leg("webrtc");
    this._hls = new Leg("hls");
    this._legs = { webrtc: this._webrtc, hls: this._hls };
    this._commands = [];
    this._started = false;
    this._visible = true;
    this._online = true;
    this._blocked = false;
    this._phase = "unknown";
    this._doubt = false;
    this._polling = false;
    this._pollAt = 0;
    this._polls = 0;
    this._hadPicture = false;
    this.shown = null;
  }

  // idle | connecting | playing | blocked | reconnecting | waiting | missing | failed
  get state() {
    if (!this._started) return "idle";
    if (this._blocked && (this._webrtc.on || this._hls.on)) return "blocked";
    if (this._playing) return "playing";
    if (this._phase === "missing") return "missing";
    if (this._phase === "offline") return "waiting";
    if (this._webrtc.retryAt === Infinity && this._hls.retryAt === Infinity) return "failed";
    return this._hadPicture ? "reconnecting" : "connecting";
  }

  get phase() {
    return this._phase;
  }

  takeCommands() {
    return this._commands.splice(0);
  }

  receive(event, now) {
    switch (event.type) {
      case "start":
        this._start(now);
        break;
      case "stop":
        this._stop();
        break;
      case "progress":
        this._progress(this._legs[event.leg], event.count, now);
        break;
      case "failed":
        this._failed(this._legs[event.leg], event, now);
        break;
      case "room":
        this._room(event.phase, now);
        break;
      case "visible":
        if (event.visible && !this._visible) this._pardonAll(now);
        this._visible = event.visible;
        break;
      case "blocked":
        if (!event.blocked && this._blocked) this._pardonAll(now);
        this._blocked = event.blocked;
        break;
      case "online":
        this._network(event.online, now);
        break;
      case "tick":
        break;
      default:
        throw new TypeError(`unknown event ${event.type}`);
    }
    if (this._started) this._advance(now);
  }

  get _playing() {
    return this.shown !== null && this._legs[this.shown].up;
  }

  _start(now) {
    if (this._started) return;
    this._started = true;
    this._phase = "unknown";
    this._doubt = this._polling = this._hadPicture = false;
    this._pollAt = now;
    this._polls = 0;
    for (const leg of Object.values(this._legs)) {
      leg.failures = 0;
      if (leg.retryAt !== Infinity) leg.retryAt = 0;
    }
  }

  _stop() {
    this._close(this._webrtc);
    this._close(this._hls);
    this._show(null);
    this._started = false;
  }

  _progress(leg, count, now) {
    if (!leg.on || count <= leg.count) return;
    leg.count = count;
    leg.progressAt = now;
    leg.risingSince ??= now;
    if (now - leg.risingSince >= GOOD) leg.failures = leg.stalls = 0;
  }

  _failed(leg, { reason, retryAfter }, now) {
    if (!leg.on) return;
    const wasUp = leg.up;
    const hadFrames = leg.count > 0;
    if (leg.risingSince !== null && now - leg.risingSince >= GOOD) leg.failures = 0;
    this._close(leg);
    if (reason === "unsupported") {
      leg.retryAt = Infinity;
      return;
    }
    if (reason === "ended" && hadFrames) {
      // Played to its end, which is no failure; what comes next is the API's to say.
      leg.retryAt = now;
      this._beginDoubt(now);
      return;
    }
    this._backOff(leg, now);
    if (reason === "no-room" || reason === "not-live") {
      // Only the API's word counts: a proxy may not know WHEP, a codec may not be ready for it yet.
      if (retryAfter) leg.retryAt = Math.max(leg.retryAt, now + 1000 * retryAfter);
      this._beginDoubt(now);
    } else if (reason === "busy") leg.retryAt = now + 1000 * (retryAfter ?? 5);
    else if (wasUp) {
      leg.retryAt = leg.failures > 1 ? leg.retryAt : now;
      this._beginDoubt(now);
    }
  }

  _backOff(leg, now) {
    const pause = leg === this._webrtc && this._hls.up ? BACKGROUND : QUICK;
    leg.retryAt = now + this._spread(grow(pause, leg.failures, 2));
    leg.failures += 1;
  }

  _room(phase, now) {
    this._polling = false;
    this._doubt = false;
    const was = this._phase;
    // An API that cannot be reached says nothing about the stream.
    if (phase !== "unknown") this._heard(phase);
    if (phase === "live" && was !== "live") {
      this._pardonAll(now);
      if (was !== "unknown") this._webrtc.failures = this._hls.failures = 0;
      for (const leg of Object.values(this._legs)) {
        if (was !== "unknown" && leg.retryAt !== Infinity) leg.retryAt = now;
      }
    }
    this._pollAt = now + this._pollPause();
  }

  _heard(phase) {
    if (phase !== this._phase) this._polls = 0;
    this._phase = phase;
  }

  _pollPause() {
    if (this._playing) return this._spread(POLL_PLAYING);
    this._polls += 1;
    if (this._phase === "missing") return this._spread(POLL_MISSING);
    const pause = this._phase === "offline" ? POLL_WAITING : POLL_TROUBLE;
    return this._spread(grow(pause, this._polls - 1, 1.5));
  }

  _network(online, now) {
    const back = online && !this._online;
    this._online = online;
    if (!back) return;
    for (const leg of Object.values(this._legs)) {
      leg.failures = 0;
      if (leg.retryAt !== Infinity) leg.retryAt = now;
    }
    this._pollAt = now;
  }

  _pardonAll(now) {
    for (const leg of Object.values(this._legs)) leg.pardon(now);
  }

  _beginDoubt(now) {
    if (this._doubt) return;
    this._doubt = true;
    this._polls = 0;
    this._pollAt = now;
  }

  _advance(now) {
    if (this._visible && !this._blocked) this._findStalls(now);
    this._choose(now);
    if (!this._playing && (this._phase === "offline" || this._phase === "missing")) {
      this._rest();
    } else if (this._online && !this._doubt) {
      this._open(now);
    }
    if (this._online && !this._polling && now >= this._pollAt) {
      this._polling = true;
      this._commands.push({ type: "poll" });
    }
  }

  _findStalls(now) {
    // When the API has said that the publisher is away there is nothing more to wait for.
    const patience = this._phase === "grace" ? HINT : STALL;
    const shown = this._legs[this.shown];
    if (shown?.up && shown.quietFor(now) >= HINT && shown.hintedAt < shown.progressAt) {
      shown.hintedAt = now;
      this._pollAt = now;
    }
    for (const leg of Object.values(this._legs)) {
      if (!leg.up || leg.quietFor(now) < patience) continue;
      leg.risingSince = null;
      leg.stalls += 1;
      leg.openedAt = now;
      if (!this._playing) this._beginDoubt(now);
    }
  }

  // Shows the better leg that has frames, and lets go of the other when it is no longer needed.
  _choose(now) {
    const { _webrtc: webrtc, _hls: hls } = this;
    const hlsHolds = hls.up && this.shown === "hls";
    const steady = Math.min(STEADY * 2 ** webrtc.stalls, GOOD);
    if (webrtc.up && (!hlsHolds || now - webrtc.risingSince >= steady)) {
      this._show("webrtc");
      this._close(hls);
    } else if (hls.up) {
      this._show("hls");
    }
    if (this._playing) this._hadPicture = true;
  }

  _open(now) {
    const { _webrtc: webrtc, _hls: hls } = this;
    const grace = this._phase === "grace";
    if (webrtc.on && !webrtc.up && !grace && this._mayJudge) this._openBeside(webrtc, hls, now);
    if (hls.on && !hls.up && !grace && this._mayJudge && now - hls.openedAt >= GIVE_UP) {
      this._close(hls);
      this._backOff(hls, now);
    }
    if (grace) return;
    if (!webrtc.on && now >= webrtc.retryAt) this._begin(webrtc, now);
    if (!webrtc.on && !hls.on && now >= hls.retryAt) this._begin(hls, now);
  }

  // WebRTC has no picture yet, or not any more.
  _openBeside(webrtc, hls, now) {
    if (!hls.on && now >= hls.retryAt && webrtc.quietFor(now) >= STALL) this._begin(hls, now);
    if (now - webrtc.openedAt >= GIVE_UP) {
      this._close(webrtc);
      this._backOff(webrtc, now);
    }
  }

  get _mayJudge() {
    return this._visible && !this._blocked;
  }

  _rest() {
    this._close(this._webrtc);
    this._close(this._hls);
    this._show(null);
    this._doubt = false;
    this._hadPicture = false;
  }

  _begin(leg, now) {
    leg.open(now);
    this._commands.push({ type: "open", leg: leg.name });
  }

  _close(leg) {
    if (!leg.on) return;
    leg.reset();
    this._commands.push({ type: "close", leg: leg.name });
  }

  _show(name) {
    if (this.shown === name) return;
    this.shown = name;
    this._commands.push({ type: "show", leg: name });
  }

  _spread(pause) {
    return pause * (0.85 + 0.3 * this._random());
  }
}

function grow({ first, longest }, times, factor) {
  return Math.min(longest, first * factor ** Math.min(times, 30));
}
