// The WebSocket contract: one socket, many channels. A handler sees a SNAPSHOT, then every message after it, in order and without a gap.
//
// Knows nothing of pages. `new Stream(url, {credentials})` and `subscribe(channel, handler)`; `state` is "connecting", "live" or "away".

const BACK_OFF_MS = [250, 500, 1000, 2000, 4000, 8000];
const SILENT_MS = 40_000;  // a heartbeat comes every 15 s
const PING_MS = 20_000;
const WRONG_TOKEN = 4401;

export class Stream extends EventTarget {
  #url; #credentials; #WebSocket; #socket = null; #channels = new Map(); #attempt = 0; #heardAt = 0; #pulse = 0; #timer = 0;
  #nextId = 1; #authorised = false; #isOver = false;
  state = "connecting";

  /** `credentials`: async, the fields of AUTH or null. `WebSocket`: for tests. */
  constructor(url, { credentials = async () => null, WebSocket = globalThis.WebSocket } = {}) {
    super();
    this.#url = url;
    this.#credentials = credentials;
    this.#WebSocket = WebSocket;
  }

  open() {
    this.#isOver = false;
    this.#connect();
  }

  close() {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** Drops the socket and takes a new one: after logging in or out. */
  restart() {
    this.#attempt = 0;
    this.#drop();
    this.#connect();
  }

  get channels() { return [...this.#channels.keys()]; }

  /** `handler({type, channel, sequence, timestamp, data})`. Returns what ends it. */
  subscribe(name, handler) {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = { sequence: null, isAsked: false, handlers: new Set() };
      this.#channels.set(name, channel);
      this.#ask([name]);
    }
    channel.handlers.add(handler);
    return () => {
      channel.handlers.delete(handler);
      if (channel.handlers.size || this.#channels.get(name) !== channel) return;
      this.#channels.delete(name);
      this.#send({ type: "UNSUBSCRIBE", channels: [name] });
    };
  }

  /** A fresh SNAPSHOT: what was built from the channel has turned out wrong. */
  refresh(name) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    channel.sequence = null;
    channel.isAsked = false;
    this.#send({ type: "UNSUBSCRIBE", channels: [name] });
    this.#ask([name]);
  }

  // -- the socket

  #connect() {
    clearTimeout(this.#timer);
    if (this.#isOver) return;
    const socket = new this.#WebSocket(this.#url);
    this.#socket = socket;
    this.#authorised = false;
    for (const channel of this.#channels.values()) Object.assign(channel, { sequence: null, isAsked: false });
    socket.onopen = () => { if (socket === this.#socket) this.#greet(); };
    socket.onmessage = event => { if (socket === this.#socket) this.#hear(event.data); };
    socket.onclose = event => { if (socket === this.#socket) this.#lose(event.code); };
  }

  async #greet() {
    const socket = this.#socket;
    this.#heardAt = Date.now();
    clearInterval(this.#pulse);
    this.#pulse = setInterval(() => this.#beat(), PING_MS / 4);
    this.#ask(this.channels.filter(name => !isPrivate(name)));
    let fields = null;
    try { fields = await this.#credentials(); } catch { /* whoever renews the token tells the page */ }
    if (fields && socket === this.#socket) this.#send({ type: "AUTH", ...fields, id: "auth" });
  }

  #beat() {
    const silent = Date.now() - this.#heardAt;
    if (silent > SILENT_MS) this.restart();
    else if (silent > PING_MS) this.#send({ type: "PING" });
  }

  #drop() {
    clearInterval(this.#pulse);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) { socket.onopen = socket.onmessage = socket.onclose = null; socket.close(); }
  }

  #lose(code) {
    this.#drop();
    this.#become("away");
    if (code === WRONG_TOKEN) this.dispatchEvent(new Event("unauthorised"));
    const wait = BACK_OFF_MS[Math.min(this.#attempt++, BACK_OFF_MS.length - 1)];
    this.#timer = setTimeout(() => this.#connect(), wait * (0.75 + Math.random() / 2));
  }

  #send(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify({ id: String(this.#nextId++), ...message }));
  }

  #ask(names) {
    const wanted = names.filter(name => {
      const channel = this.#channels.get(name);
      return channel && !channel.isAsked && (this.#authorised || !isPrivate(name)) && this.#socket?.readyState === 1;
    });
    if (!wanted.length) return;
    for (const name of wanted) this.#channels.get(name).isAsked = true;
    this.#send({ type: "SUBSCRIBE", channels: wanted });
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  // -- what it says

  #hear(text) {
    this.#heardAt = Date.now();
    const message = JSON.parse(text);
    switch (message.type) {
      case "ACK":
        if (message.id === "auth") { this.#authorised = true; this.#ask(this.channels.filter(isPrivate)); }
        break;
      case "PONG": break;
      case "HEARTBEAT": this.#compare(message.data ?? {}); break;
      case "ERROR": this.dispatchEvent(new CustomEvent("refused", { detail: message })); break;
      default: if (message.channel) this.#take(message);
    }
  }

  #take(message) {
    const channel = this.#channels.get(message.channel);
    if (!channel) return;
    if (message.type === "SNAPSHOT") {
      channel.sequence = message.sequence;
      this.#attempt = 0;
      this.#become("live");
    } else {
      if (channel.sequence === null || message.sequence <= channel.sequence) return;  // before its snapshot, or known
      if (message.sequence !== channel.sequence + 1) { this.#resync(message.channel, channel); return; }
      channel.sequence = message.sequence;
    }
    channel.isBehind = false;
    for (const handler of channel.handlers) handler(message);
  }

  #resync(name, channel) {
    if (channel.isBehind) return;
    channel.isBehind = true;
    this.#send({ type: "RESYNC", channel: name, last_sequence: channel.sequence });
  }

  #compare(sequences) {
    for (const [name, sequence] of Object.entries(sequences)) {
      const channel = this.#channels.get(name);
      if (channel && channel.sequence !== null && sequence > channel.sequence) this.#resync(name, channel);
    }
  }
}

export const isPrivate = channel => channel.startsWith("user.");
