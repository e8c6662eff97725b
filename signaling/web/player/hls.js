// HLS with hls.js, which is fetched only when it is needed; natively where there is no MSE.

// Farther behind the target than this (after a long pause, say) it jumps instead of crawling, in s.
// hls.js has settings for it, but with them it no longer takes the target from PART-HOLD-BACK.
const TOO_FAR = 4;
// hls.js does not always reach the end of what has ended, when the renditions are not of one length:
// so many readings without progress, and it is taken for reached.
const STUCK_READINGS = 2;
const TYPE = "application/vnd.apple.mpegurl";

export class HlsSession {
  // `onLost(reason, detail)`: network | unsupported | refused | ended; called at most once. A playlist
  // that is not there is no proof that the room is not live (its first segment may still be on the
  // way), so that, too, is "network". "ended" is no proof either: a stream that comes to have other
  // tracks goes on in another presentation, which the index names from then on.
  constructor(url, video, { onLost }) {
    this._url = url;
    this._video = video;
    this._onLost = onLost;
    this._closed = false;
    this._recovered = 0;
    this._hls = null;
    this._stood = { at: -1, readings: 0 };
    this._listeners = { ended: () => this._lose("ended") };
  }

  async open() {
    const video = this._video;
    const Hls = await loadHlsJs();
    if (this._closed) return;
    if (Hls?.isSupported()) {
      this._openWith(Hls);
    } else if (video.canPlayType(TYPE)) {
      this._listeners.error = () => this._lose(video.error?.code === 2 ? "network" : "refused");
      this._listeners.loadedmetadata = () => this._refuseWhatIsOver(Number.isFinite(video.duration));
      video.src = this._url;
    } else {
      this._lose("unsupported");
      return;
    }
    for (const [name, heard] of Object.entries(this._listeners)) {
      video.addEventListener(name, heard);
    }
  }

  close() {
    if (this._closed) return;
    this._closed = true;
    this._hls?.destroy();
    this._hls = null;
    for (const [name, heard] of Object.entries(this._listeners)) {
      this._video.removeEventListener(name, heard);
    }
    this._video.removeAttribute("src");
    this._video.load();
  }

  // {frames, latency, width, height, ...} like WhepMeter's
  read() {
    const video = this._video;
    this._catchUp();
    const quality = video.getVideoPlaybackQuality?.();
    const figures = {
      // Time that goes on is progress too: a room may have sound only.
      frames: Math.max(quality?.totalVideoFrames ?? 0, Math.floor(video.currentTime * 10)),
      latency: this._latency(),
      width: video.videoWidth,
      height: video.videoHeight,
      framesDecoded: quality?.totalVideoFrames ?? 0,
      framesDropped: quality?.droppedVideoFrames ?? 0,
      level: this._hls?.currentLevel ?? null,
      currentTime: video.currentTime,
    };
    this._watchTheEnd();
    return figures;
  }

  _openWith(Hls) {
    // No worker: CMAF needs no remultiplexing, and a worker from a blob would widen the policy.
    const hls = new Hls({
      lowLatencyMode: true,
      enableWorker: false,
      backBufferLength: 15,
      maxBufferLength: 20,
      maxLiveSyncPlaybackRate: 1.1,
    });
    this._hls = hls;
    hls.on(Hls.Events.ERROR, (_event, data) => this._error(Hls, data));
    hls.once(Hls.Events.LEVEL_LOADED, (_event, { details }) => this._refuseWhatIsOver(!details.live));
    hls.loadSource(this._url);
    hls.attachMedia(this._video);
  }

  _error(Hls, data) {
    if (!data.fatal) return;
    // A codec that is not there does not come by trying.
    const lacking = [
      Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR,
      Hls.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR,
      Hls.ErrorDetails.BUFFER_ADD_CODEC_ERROR,
    ].includes(data.details);
    const decoding = data.type === Hls.ErrorTypes.MEDIA_ERROR && !lacking;
    if (decoding && this._recovered < 2) {
      this._recovered += 1;
      this._hls.recoverMediaError();
      return;
    }
    this._lose(data.type === Hls.ErrorTypes.NETWORK_ERROR ? "network" : "refused", data.details);
  }

  // An index out of a cache may name what is over; that is not to be played from its beginning.
  _refuseWhatIsOver(over) {
    if (over) this._lose("ended");
  }

  _watchTheEnd() {
    const { currentTime, paused } = this._video;
    if (this._hls?.latestLevelDetails?.live !== false || paused) return;
    const stands = currentTime === this._stood.at;
    this._stood = { at: currentTime, readings: stands ? this._stood.readings + 1 : 0 };
    if (this._stood.readings >= STUCK_READINGS) this._lose("ended");
  }

  _catchUp() {
    const { latency, targetLatency, liveSyncPosition } = this._hls ?? {};
    if (targetLatency && latency > targetLatency + TOO_FAR && liveSyncPosition) {
      this._video.currentTime = liveSyncPosition;
    }
  }

  // From the wall clock where the stream has one and the two clocks agree, for it covers the whole
  // way; otherwise the distance to the live edge.
  _latency() {
    const date = this._hls?.playingDate ?? nativeDate(this._video);
    const whole = date ? (Date.now() - date.getTime()) / 1000 : null;
    if (whole !== null && whole > 0 && whole < 120) return whole;
    return this._hls?.latency || null;
  }

  _lose(reason, detail = "") {
    if (this._closed) return;
    this.close();
    this._onLost(reason, detail);
  }
}

function nativeDate(video) {
  const start = video.getStartDate?.()?.getTime();
  return Number.isFinite(start) ? new Date(start + video.currentTime * 1000) : null;
}

async function loadHlsJs() {
  if (!globalThis.MediaSource && !globalThis.ManagedMediaSource) return null;
  try {
    return (await import("hls.js")).default;
  } catch {
    return null;
  }
}
