// The words of the pages, in the browser's language. Values are text or functions that make it.

const EN = {
  rooms: "Rooms",
  room: "Room",
  studio: "Studio",
  more: "More",
  noRooms: "There are no rooms yet.",
  apiAway: "The server cannot be reached. Trying again…",
  live: "LIVE",
  away: "AWAY",
  offline: "OFFLINE",
  viewers: (n) => (n === 1 ? "1 viewer" : `${n} viewers`),
  play: "Play",
  soundOn: "Tap for sound",
  mute: "Mute",
  fullscreen: "Full screen",
  connecting: "Connecting…",
  reconnecting: "Reconnecting…",
  hostAway: "The host has lost the connection. It goes on here by itself.",
  waiting: "Not live at the moment",
  waitingHint: "This page begins by itself when the host does.",
  missing: "There is no such room",
  missingHint: "Is the address right?",
  failed: "This browser can play neither WebRTC nor HLS.",
  blocked: "Your browser asks for a tap before it plays.",
  viaWebrtc: "WebRTC",
  viaHls: "HLS",
  latency: (s) => (s < 0.1 ? "less than 0.1 s behind" : `≈ ${s.toFixed(1)} s behind`),
  signIn: "Sign in",
  signOut: "Sign out",
  username: "Username",
  password: "Password",
  yourRooms: "Your rooms",
  newRoom: "New room",
  address: "Address (a–z, 0–9, -)",
  title: "Title",
  open: "Open",
  watch: "Watch",
  newKey: "New stream key",
  newKeySure: "The old key stops working at once, and whoever publishes with it is cut off. Go on?",
  keyHint: "The stream key was shown when it was made. If it is lost, make a new one.",
  keyOnce: "Copy the key now: it is not shown again.",
  rtmpServer: "OBS, RTMP: server",
  rtmpKey: "OBS, RTMP: stream key",
  srt: "OBS, SRT: server (leave the stream key empty)",
  copy: "Copy",
  copied: "Copied",
  publishing: (protocol, encoder) => `Publishing by ${protocol}${encoder ? ` from ${encoder}` : ""}`,
  viewersOnly: "Only hosts and admins have a studio.",
};

const ZH = {
  rooms: "直播间",
  room: "直播间",
  studio: "工作台",
  more: "更多",
  noRooms: "还没有直播间。",
  apiAway: "暂时无法连接服务器，正在重试…",
  live: "直播中",
  away: "暂离",
  offline: "未开播",
  viewers: (n) => `${n} 人在看`,
  play: "播放",
  soundOn: "点按打开声音",
  mute: "静音",
  fullscreen: "全屏",
  connecting: "正在连接…",
  reconnecting: "正在重新连接…",
  hostAway: "主播的网络中断了，恢复后会自动继续。",
  waiting: "当前没有直播",
  waitingHint: "开播后本页会自动开始播放。",
  missing: "没有这个直播间",
  missingHint: "请检查网址是否正确。",
  failed: "此浏览器既不支持 WebRTC 也不支持 HLS。",
  blocked: "浏览器需要您点按后才能播放。",
  latency: (s) => (s < 0.1 ? "延迟不到 0.1 秒" : `延迟约 ${s.toFixed(1)} 秒`),
  signIn: "登录",
  signOut: "退出",
  username: "用户名",
  password: "密码",
  yourRooms: "我的直播间",
  newRoom: "新建直播间",
  address: "网址（a–z、0–9、-）",
  title: "标题",
  open: "创建",
  watch: "观看",
  newKey: "更换推流密钥",
  newKeySure: "旧密钥会立即失效，正在使用它推流的设备会被断开。继续吗？",
  keyHint: "推流密钥只在生成时显示一次。如已遗失，请更换。",
  keyOnce: "请立即复制密钥，之后不再显示。",
  rtmpServer: "OBS（RTMP）：服务器",
  rtmpKey: "OBS（RTMP）：推流码",
  srt: "OBS（SRT）：服务器（推流码留空）",
  copy: "复制",
  copied: "已复制",
  publishing: (protocol, encoder) => `正在通过 ${protocol} 推流${encoder ? `（${encoder}）` : ""}`,
  viewersOnly: "只有主播和管理员可以使用工作台。",
};

const chinese = (navigator.languages?.[0] ?? navigator.language ?? "").toLowerCase().startsWith("zh");

export const text = chinese ? { ...EN, ...ZH } : EN;

// Puts the words into the elements that name them by data-text and data-label.
export function translate(root = document) {
  if (root === document) document.documentElement.lang = chinese ? "zh" : "en";
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = text[element.dataset.text];
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text[element.dataset.label]);
  }
}
