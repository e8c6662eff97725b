// A WHEP session (draft-ietf-wish-whep): one POST, recvonly, no trickle, since the server is
// ICE-lite and learns our address from our first check.

export class WhepError extends Error {
  // reason: not-live | no-room | busy | unsupported | refused | network; retryAfter in seconds
  constructor(reason, message, retryAfter = null) {
    super(message);
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

const REASONS = { 404: "no-room", 409: "not-live", 429: "busy", 503: "busy" };

export class WhepSession {
  // `onLost(reason, detail)` is called once when a session that was open is over.
  constructor(url, { onLost }) {
    this._url = url;
    this._onLost = onLost;
    this._location = null;
    this._closed = false;
    this.stream = new MediaStream();
    this.connection = null;
  }

  // Resolves when the answer is in place; throws WhepError; after close() it just returns.
  async open() {
    if (typeof RTCPeerConnection === "undefined") {
      throw new WhepError("unsupported", "this browser has no WebRTC");
    }
    const connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.connection = connection;
    connection.ontrack = ({ track }) => this.stream.addTrack(track);
    connection.onconnectionstatechange = () => {
      if (["failed", "closed"].includes(connection.connectionState)) this._lose();
    };
    connection.addTransceiver("video", { direction: "recvonly" });
    connection.addTransceiver("audio", { direction: "recvonly" });
    const offer = await connection.createOffer();
    if (this._closed) return;
    await connection.setLocalDescription({ type: "offer", sdp: withStereo(offer.sdp) });
    if (this._closed) return;
    const answer = await this._post(connection.localDescription.sdp);
    if (this._closed) return;
    try {
      await connection.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      throw new WhepError("refused", `the answer cannot be used: ${error.message}`);
    }
  }

  // Also from pagehide: the DELETE outlives the page.
  close() {
    if (this._closed) return;
    this._closed = true;
    if (this.connection) {
      this.connection.ontrack = this.connection.onconnectionstatechange = null;
      this.connection.close();
    }
    for (const track of this.stream.getTracks()) this.stream.removeTrack(track);
    this._delete();
  }

  async _post(sdp) {
    let response;
    try {
      response = await fetch(this._url, {
        method: "POST",
        headers: { "Content-Type": "application/sdp" },
        body: sdp,
        // After close() the answer is still awaited, for its Location has to be deleted.
        keepalive: true,
      });
    } catch (error) {
      throw new WhepError("network", error.message);
    }
    const location = response.headers.get("Location");
    if (location) this._location = new URL(location, response.url || this._url).href;
    if (this._closed) this._delete();
    if (response.status === 201) return response.text();
    const after = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    throw new WhepError(
      REASONS[response.status] ?? "refused",
      `WHEP answered ${response.status}`,
      Number.isFinite(after) ? after : null,
    );
  }

  _delete() {
    const location = this._location;
    this._location = null;
    if (location) fetch(location, { method: "DELETE", keepalive: true }).catch(() => {});
  }

  _lose() {
    if (this._closed) return;
    this._closed = true;
    this._delete();
    this.connection?.close();
    this._onLost("network", "the connection is gone");
  }
}

// Chrome takes stereo Opus only when its own offer says so.
function withStereo(sdp) {
  const payload = /a=rtpmap:(\d+) opus\/48000\/2/i.exec(sdp)?.[1];
  if (!payload) return sdp;
  const line = new RegExp(`(a=fmtp:${payload} )(?!.*stereo=1)(.*)`);
  return sdp.replace(line, "$1stereo=1;$2");
}

// Reads what the picture is worth from getStats; deltas, so one meter for each session.
export class WhepMeter {
  constructor() {
    this._buffered = null;
  }

  // {frames, latency, width, height, ...}: frames is a count that rises while pictures (or, in a
  // room without any, sound) are decoded; latency in seconds or null.
  async read(connection) {
    const report = await connection.getStats();
    let video = null;
    let audio = null;
    let roundTrip = null;
    for (const entry of report.values()) {
      if (entry.type === "inbound-rtp" && entry.kind === "video") video = entry;
      if (entry.type === "inbound-rtp" && entry.kind === "audio") audio = entry;
      if (entry.type === "candidate-pair" && entry.nominated && entry.currentRoundTripTime) {
        roundTrip = entry.currentRoundTripTime;
      }
    }
    const hasVideo = video !== null && (video.packetsReceived > 0 || !audio?.packetsReceived);
    const main = hasVideo ? video : audio;
    return {
      frames: hasVideo ? video.framesDecoded ?? 0 : audio?.jitterBufferEmittedCount ?? 0,
      latency: this._latency(main, roundTrip),
      roundTrip,
      width: video?.frameWidth ?? 0,
      height: video?.frameHeight ?? 0,
      framesDecoded: video?.framesDecoded ?? 0,
      framesDropped: video?.framesDropped ?? 0,
      packetsLost: video?.packetsLost ?? 0,
      audioEnergy: audio?.totalAudioEnergy ?? 0,
      codec: report.get(main?.codecId)?.mimeType ?? null,
    };
  }

  // How long frames wait in the jitter buffer, and half the round trip. What the encoder and the
  // way to the server add is not in it.
  _latency(inbound, roundTrip) {
    if (!inbound?.jitterBufferEmittedCount) return null;
    const { jitterBufferDelay: delay, jitterBufferEmittedCount: count } = inbound;
    const before = this._buffered ?? { delay: 0, count: 0 };
    this._buffered = { delay, count };
    if (count <= before.count) return null;
    return (delay - before.delay) / (count - before.count) + (roundTrip ?? 0) / 2;
  }
}
