import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { GIVE_UP, GOOD, Playback, STALL } from "../../../signaling/web/player/state.js";

// Virtual time, and a world with two legs that give frames or do not. Each leg is a function of the
// playback's command "open": it may fail, or be left to give frames while `alive`.
class World {
  constructor({ phase = "live", webrtc = "frames", hls = "frames" } = {}) {
    this.now = 0;
    this.phase = phase;
    this.ways = { webrtc, hls };
    this.open = { webrtc: false, hls: false };
    this.opened = { webrtc: 0, hls: 0 };
    this.polls = 0;
    this.counts = { webrtc: 0, hls: 0 };
    this.seen = [];
    this.playback = new Playback({ random: () => 0.5 });
  }

  send(event) {
    this.playback.receive(event, this.now);
    for (const command of this.playback.takeCommands()) this.obey(command);
    const state = `${this.playback.state}${this.playback.shown ? `/${this.playback.shown}` : ""}`;
    if (this.seen.at(-1) !== state) this.seen.push(state);
  }

  obey(command) {
    if (command.type === "open") {
      assert.equal(this.open[command.leg], false, "a leg is opened once");
      this.open[command.leg] = true;
      this.opened[command.leg] += 1;
      this.counts[command.leg] = 0;
    } else if (command.type === "close") {
      assert.equal(this.open[command.leg], true, "only what is open is closed");
      this.open[command.leg] = false;
    } else if (command.type === "poll") {
      this.polls += 1;
      this.asked = true;
    }
  }

  start() {
    this.send({ type: "start" });
    return this;
  }

  run(milliseconds) {
    const end = this.now + milliseconds;
    while (this.now < end) {
      this.now += 250;
      if (this.asked) {
        this.asked = false;
        this.send({ type: "room", phase: this.phase });
      }
      for (const leg of ["webrtc", "hls"]) this.live(leg);
      this.send({ type: "tick" });
    }
    return this;
  }

  live(leg) {
    if (!this.open[leg]) return;
    const way = this.ways[leg];
    if (typeof way === "object") this.send({ type: "failed", leg, ...way });
    else if (way === "frames" && this.phase === "live") {
      this.counts[leg] += 8;
      this.send({ type: "progress", leg, count: this.counts[leg] });
    }
  }
}

describe("a room that is live", () => {
  test("plays by WebRTC and does not touch HLS", () => {
    const world = new World().start().run(60000);

    assert.deepEqual(world.seen, ["connecting", "playing/webrtc"]);
    assert.deepEqual(world.opened, { webrtc: 1, hls: 0 });
  });

  test("falls back to HLS at once when WHEP refuses", () => {
    const world = new World({ webrtc: { reason: "refused" } }).start().run(1500);

    assert.equal(world.playback.state, "playing");
    assert.equal(world.playback.shown, "hls");
  });

  for (const reason of ["no-room", "not-live"]) {
    test(`falls back to HLS when WHEP says ${reason} and the API knows better`, () => {
      const world = new World({ webrtc: { reason, retryAfter: 2 } }).start().run(30000);

      assert.equal(world.playback.state, "playing");
      assert.equal(world.playback.shown, "hls");
      assert.equal(world.opened.hls, 1);
    });
  }

  test("falls back to HLS after STALL when ICE gets nowhere, and gives WebRTC up later", () => {
    const world = new World({ webrtc: "silent" }).start();

    world.run(STALL - 500);
    assert.equal(world.opened.hls, 0);
    world.run(1500);
    assert.equal(world.playback.shown, "hls");
    assert.equal(world.open.webrtc, true);
    world.run(GIVE_UP);
    assert.equal(world.open.webrtc, false);
    assert.equal(world.playback.state, "playing");
  });

  test("falls back to HLS when a picture stalls though the room is live", () => {
    const world = new World().start().run(5000);
    world.ways.webrtc = "silent";

    world.run(STALL + 1500);

    assert.equal(world.playback.shown, "hls");
    assert.equal(world.playback.state, "playing");
  });

  test("comes back to WebRTC without a gap in the picture", () => {
    const world = new World({ webrtc: { reason: "refused" } }).start().run(20000);
    world.ways.webrtc = "frames";
    world.seen = [];

    world.run(70000);

    assert.deepEqual(world.seen, ["playing/hls", "playing/webrtc"]);
    assert.equal(world.open.hls, false);
  });

  test("tries WebRTC ever more rarely while HLS plays", () => {
    const world = new World({ webrtc: { reason: "refused" } }).start().run(600000);

    assert.ok(world.opened.webrtc >= 8, `${world.opened.webrtc} tries`);
    assert.ok(world.opened.webrtc <= 18, `${world.opened.webrtc} tries`);
    assert.equal(world.opened.hls, 1);
  });

  test("waits as long as a full server asks before it tries again", () => {
    const busy = { reason: "busy", retryAfter: 40 };
    const world = new World({ webrtc: busy }).start().run(39000);

    assert.equal(world.playback.shown, "hls");
    assert.equal(world.opened.webrtc, 1);
    world.run(3000);
    assert.equal(world.opened.webrtc, 2);
  });

  test("a WebRTC that stalls again and again has to prove itself for longer", () => {
    const world = new World().start().run(2000);
    let switches = 0;
    let shown = "webrtc";
    for (let second = 0; second < 240; second += 1) {
      world.ways.webrtc = second % 10 < 5 ? "silent" : "frames";
      world.run(1000);
      if (world.playback.shown !== shown) switches += 1;
      shown = world.playback.shown;
    }

    assert.ok(switches <= 8, `${switches} switches`);
    assert.equal(world.playback.state, "playing");
  });

  test("without WebRTC in the browser HLS alone is used", () => {
    const world = new World({ webrtc: { reason: "unsupported" } }).start().run(120000);

    assert.equal(world.playback.shown, "hls");
    assert.equal(world.opened.webrtc, 1);
  });

  test("with neither it says so", () => {
    const no = { reason: "unsupported" };

    const world = new World({ webrtc: no, hls: no }).start().run(10000);

    assert.equal(world.playback.state, "failed");
  });

  test("a session that the server closes is opened again at once", () => {
    const world = new World().start().run(GOOD + 5000);
    world.send({ type: "failed", leg: "webrtc", reason: "network" });

    world.run(1000);

    assert.equal(world.playback.state, "playing");
    assert.equal(world.playback.shown, "webrtc");
    assert.deepEqual(world.opened, { webrtc: 2, hls: 0 });
  });

  test("a presentation that has ended is followed by the next one at once", () => {
    const world = new World({ webrtc: { reason: "unsupported" } }).start().run(5000);
    for (let times = 1; times <= 5; times += 1) {
      world.send({ type: "failed", leg: "hls", reason: "ended" });

      world.run(1000);

      assert.equal(world.playback.state, "playing");
      assert.equal(world.opened.hls, 1 + times);
    }
  });

  test("also when its last picture stood still for a while", () => {
    const world = new World({ webrtc: { reason: "unsupported" } }).start().run(5000);
    world.phase = "grace";
    world.run(5000);
    world.phase = "live";
    world.ways.hls = "silent";
    world.run(2000);
    world.ways.hls = "frames";
    world.send({ type: "failed", leg: "hls", reason: "ended" });

    world.run(500);

    assert.equal(world.playback.state, "playing");
  });

  test("an index that goes on naming what has ended is asked ever more rarely", () => {
    const over = { reason: "ended" };
    const world = new World({ webrtc: { reason: "unsupported" }, hls: over }).start().run(60000);

    assert.ok(world.opened.hls >= 5 && world.opened.hls <= 12, `${world.opened.hls} tries`);
  });

  test("an API that cannot be reached does not stop the fallback", () => {
    const world = new World({ webrtc: "silent" }).start();
    for (let i = 0; i < 40; i += 1) {
      world.now += 250;
      if (world.asked) {
        world.asked = false;
        world.send({ type: "room", phase: "unknown" });
      }
      world.live("hls");
      world.send({ type: "tick" });
    }

    assert.equal(world.playback.shown, "hls");
    assert.equal(world.playback.state, "playing");
  });

  test("when both fail it goes on trying, not too often", () => {
    const broken = { reason: "network" };
    const world = new World({ webrtc: broken, hls: broken }).start().run(120000);

    assert.equal(world.playback.state, "connecting");
    assert.ok(world.opened.webrtc >= 10 && world.opened.webrtc <= 20, `${world.opened.webrtc}`);
    assert.ok(world.opened.hls >= 5 && world.opened.hls <= 20, `${world.opened.hls}`);
    world.ways = { webrtc: "frames", hls: "frames" };
    world.run(12000);
    assert.equal(world.playback.state, "playing");
  });
});

describe("a publisher that goes away", () => {
  test("is missed before the picture counts as stalled", () => {
    const world = new World().start().run(5000);
    world.phase = "grace";

    world.run(1750);

    assert.equal(world.playback.state, "reconnecting");
    assert.deepEqual(world.opened, { webrtc: 1, hls: 0 });
  });

  test("and comes back within the grace period keeps its viewers in their session", () => {
    const world = new World().start().run(5000);
    world.phase = "grace";
    world.run(8000);
    assert.equal(world.playback.state, "reconnecting");

    world.phase = "live";
    world.run(1000);

    assert.equal(world.playback.state, "playing");
    assert.deepEqual(world.opened, { webrtc: 1, hls: 0 });
  });

  test("and comes back after it is played anew without help", () => {
    const world = new World().start().run(5000);
    world.phase = "grace";
    world.run(10000);
    world.phase = "offline";
    world.run(6000);
    assert.equal(world.playback.state, "waiting");
    assert.deepEqual(world.open, { webrtc: false, hls: false });

    world.phase = "live";
    world.run(12000);

    assert.equal(world.playback.state, "playing");
    assert.equal(world.playback.shown, "webrtc");
    assert.equal(world.opened.hls, 0);
  });

  test("a session that is closed in the grace period is opened when the room is live", () => {
    const world = new World().start().run(5000);
    world.phase = "grace";
    world.send({ type: "failed", leg: "webrtc", reason: "network" });
    world.run(5000);
    assert.deepEqual(world.open, { webrtc: false, hls: false });

    world.phase = "live";
    world.run(6000);

    assert.equal(world.playback.state, "playing");
    assert.equal(world.playback.shown, "webrtc");
  });

  test("ten times in a row leaves nothing open", () => {
    const world = new World().start().run(5000);
    for (let i = 0; i < 10; i += 1) {
      world.phase = "grace";
      world.run(4000 + 1000 * i);
      world.phase = "live";
      world.run(6000);
      assert.equal(world.playback.state, "playing");
      assert.equal(world.playback.shown, "webrtc");
    }

    world.send({ type: "stop" });

    assert.deepEqual(world.open, { webrtc: false, hls: false });
    assert.equal(world.playback.state, "idle");
  });

  test("while HLS is watched comes back in HLS", () => {
    const world = new World({ webrtc: { reason: "refused" } }).start().run(5000);
    world.phase = "grace";
    world.run(8000);
    assert.equal(world.playback.state, "reconnecting");
    assert.equal(world.open.hls, true);

    world.phase = "live";
    world.run(6000);

    assert.equal(world.playback.state, "playing");
    assert.equal(world.opened.hls, 1);
  });
});

describe("a room that is not live", () => {
  test("waits without sessions and begins by itself", () => {
    const offline = { reason: "not-live", retryAfter: 3 };
    const world = new World({ phase: "offline", webrtc: offline }).start().run(60000);
    assert.equal(world.playback.state, "waiting");
    assert.equal(world.opened.webrtc, 1);
    assert.ok(world.polls <= 12, `${world.polls} polls in a minute`);

    world.phase = "live";
    world.ways.webrtc = "frames";
    world.run(12000);

    assert.equal(world.playback.state, "playing");
  });

  test("a room that does not exist is named so", () => {
    const world = new World({ phase: "missing", webrtc: { reason: "no-room" } }).start();

    world.run(60000);

    assert.equal(world.playback.state, "missing");
    assert.equal(world.opened.hls, 0);
    assert.ok(world.polls <= 4, `${world.polls} polls in a minute`);
  });
});

describe("the browser", () => {
  test("a hidden page is not judged, and gets its time when it is seen again", () => {
    const world = new World().start().run(5000);
    world.send({ type: "visible", visible: false });
    world.ways.webrtc = "silent";
    world.run(60000);
    assert.equal(world.playback.state, "playing");

    world.send({ type: "visible", visible: true });
    world.ways.webrtc = "frames";
    world.run(2000);

    assert.equal(world.playback.state, "playing");
    assert.deepEqual(world.opened, { webrtc: 1, hls: 0 });
  });

  test("without a network nothing is asked; with it all is tried at once", () => {
    const world = new World().start().run(5000);
    world.ways.webrtc = "silent";
    world.send({ type: "online", online: false });
    const { polls } = world;
    world.run(30000);
    assert.equal(world.polls, polls);
    assert.equal(world.playback.state, "reconnecting");

    world.ways.webrtc = "frames";
    world.send({ type: "online", online: true });
    world.run(2000);

    assert.equal(world.playback.state, "playing");
  });

  test("an autoplay that is not allowed waits for the tap", () => {
    const world = new World({ webrtc: "silent" }).start();
    world.send({ type: "blocked", blocked: true });
    world.run(20000);
    assert.equal(world.playback.state, "blocked");
    assert.equal(world.opened.hls, 0);

    world.ways.webrtc = "frames";
    world.send({ type: "blocked", blocked: false });
    world.run(1000);

    assert.equal(world.playback.state, "playing");
  });

  test("stop and start begin anew, as after the back button", () => {
    const world = new World().start().run(5000);
    world.send({ type: "stop" });
    world.run(5000);
    assert.deepEqual(world.open, { webrtc: false, hls: false });

    world.start().run(1000);

    assert.equal(world.playback.state, "playing");
  });
});

test("whatever happens, commands stay in order and a live room is played in the end", () => {
  let seed = 7;
  const random = (n) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor((seed / 2147483648) * n);
  };
  const ways = ["frames", "silent", ...["network", "refused", "ended"].map((reason) => ({ reason }))];
  for (let round = 0; round < 200; round += 1) {
    const world = new World().start();
    for (let step = 0; step < 40; step += 1) {
      world.phase = ["live", "grace", "offline", "live", "missing"][random(5)];
      world.ways = { webrtc: ways[random(5)], hls: ways[random(5)] };
      if (random(5) === 0) world.send({ type: "visible", visible: random(2) === 0 });
      if (random(5) === 0) world.send({ type: "online", online: random(2) === 0 });
      if (random(9) === 0) world.send({ type: "stop" });
      if (random(3) === 0) world.start();
      world.run(250 * random(30));
    }
    world.phase = "live";
    world.ways = { webrtc: "frames", hls: "frames" };
    world.send({ type: "visible", visible: true });
    world.send({ type: "online", online: true });
    world.start().run(120000);
    assert.equal(world.playback.state, "playing", `round ${round}`);
    assert.equal(world.playback.shown, "webrtc", `round ${round}`);
    assert.equal(world.open.hls, false, `round ${round}`);
  }
});
