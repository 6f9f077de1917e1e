// The page's conversation: a socket between the microphone, the loudspeaker and the transcript.

import { Recording } from "./recording.js";
import { Loudspeaker, Microphone, microphoneError } from "./sound.js";
import { Transcript } from "./transcript.js";

const HERE = new URL(".", import.meta.url);
const RETRIES = [500, 1000, 2000, 4000, 8000]; // milliseconds
const STEADY = 5000; // milliseconds after which a connection counts as one that works
const SAMPLE_BLOCK = 0.05; // seconds of the sample question in one message

class Talk {
  constructor(root) {
    this.find = (name) => root.querySelector(`#talk-${name}`);
    this.root = root;
    this.transcript = new Transcript(this.find("log"));
    this.settings = {};
    this.microphone = this.loudspeaker = this.socket = this.recording = null;
    this.wanted = false; // the user wants to talk
    this.sampling = false; // the sample question is heard, and not the microphone
    this.tries = 0;
    this.state("idle", "Press the button and speak.");
    this.find("button").onclick = () => (this.wanted ? this.stop() : this.start(true));
    this.find("sample").onclick = () => this.sample();
    this.find("interrupt").onclick = () => this.tell({ kind: "interrupt" });
    this.find("download").onclick = () => this.download();
    this.find("form").onsubmit = (event) => this.type(event);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.tell({ kind: "interrupt" });
    });
  }

  state(name, words) {
    this.root.dataset.state = name;
    if (words) this.find("status").textContent = words;
    this.find("button").setAttribute("aria-pressed", String(this.wanted));
    this.find("label").textContent = this.wanted ? "Stop" : "Talk";
  }

  fail(words) {
    this.stop();
    this.state("error", words);
  }

  async start(withMicrophone) {
    if (this.wanted && (this.microphone || !withMicrophone)) return;
    this.wanted = true;
    this.state("connecting", "Connecting\u2026");
    if (withMicrophone) {
      const microphone = (this.microphone = new Microphone());
      try {
        await microphone.open(
          (samples, rate) => this.sampling || this.hear(samples, rate),
          () => this.fail("The microphone was disconnected."),
        );
      } catch (error) {
        if (this.microphone === microphone) this.fail(microphoneError(error));
        return;
      }
      if (this.microphone !== microphone) return microphone.close(); // stopped while it was asked for
    }
    if (this.wanted && !this.socket) await this.connect();
  }

  stop() {
    this.wanted = false;
    this.forget();
    this.microphone?.close();
    this.loudspeaker?.close();
    this.socket?.close();
    this.microphone = this.loudspeaker = this.socket = null;
    this.level(0);
    this.state("idle", "Press the button and speak.");
  }

  connect() {
    const address = new URL("../socket", HERE);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    return new Promise((resolve) => {
      const opened = performance.now();
      socket.onopen = () => this.tell({ kind: "settings", ...this.settings });
      socket.onmessage = async ({ data }) => {
        if (typeof data !== "string") return this.play(data);
        const event = JSON.parse(data);
        if (event.kind === "ready") this.opened = this.ready(event);
        if (event.kind === "listening") await this.opened;
        this.take(event);
        if (event.kind === "listening") resolve(); // first when the conversation begins
      };
      socket.onclose = () => {
        resolve();
        if (this.socket === socket) this.lost(performance.now() - opened > STEADY);
      };
    });
  }

  async ready({ sample_rate: rate }) {
    const first = !this.recording;
    this.recording ??= new Recording(rate);
    if (!this.loudspeaker) {
      this.loudspeaker = new Loudspeaker();
      await this.loudspeaker.open(rate, (report) => this.sounded(report));
    }
    if (!first) this.transcript.note("A new conversation: what was said before is not known.");
    else if (this.microphone) this.tell({ kind: "greet" });
  }

  // The next connection is a new conversation, whose turns count from 1 again.
  forget() {
    this.recording?.flush();
    this.transcript.restart();
    this.silenced = undefined;
  }

  lost(steady) {
    this.socket = null;
    this.loudspeaker?.drop();
    this.forget();
    if (!this.wanted) return;
    if (steady) this.tries = 0;
    if (this.tries >= RETRIES.length) return this.fail("The server cannot be reached.");
    this.state("connecting", "The connection was lost; connecting again\u2026");
    setTimeout(() => this.wanted && !this.socket && this.connect(), RETRIES[this.tries++]);
  }

  tell(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  configure(settings) {
    Object.assign(this.settings, settings);
    this.tell({ kind: "settings", ...settings });
  }

  hear(samples, rate) {
    let loudest = 0;
    const pcm = Int16Array.from(samples, (sample) => {
      loudest = Math.max(loudest, Math.abs(sample));
      return Math.max(-1, Math.min(1, sample)) * 32767;
    });
    this.level(loudest);
    if (this.socket?.readyState !== WebSocket.OPEN || !this.recording) return;
    if (rate !== this.rate || this.rateOf !== this.socket) {
      this.tell({ kind: "rate", rate });
      Object.assign(this, { rate, rateOf: this.socket });
    }
    this.socket.send(pcm.buffer);
    this.recording.user(samples, rate);
  }

  level(loudest) {
    const decibels = 20 * Math.log10(loudest + 1e-6);
    const level = Math.max(0, Math.min(1, 1 + decibels / 60));
    this.find("level").setAttribute("aria-valuenow", Math.round(level * 100));
    this.root.style.setProperty("--talk-level", level);
  }

  take(event) {
    const { turn } = event;
    const acts = {
      listening: () => this.listen(),
      speech_started: () => this.state("hearing", "Hearing you\u2026"),
      speech_ended: () => this.think(),
      transcript: () => this.transcript.user(turn, event.text, event.final),
      text_delta: () => this.transcript.text(turn, event.text),
      audio_chunk: () => this.next(event),
      finished: () => (event.seconds ? this.loudspeaker?.end(turn) : this.listen()),
      interrupted: () => this.interrupted(event),
      error: () => this.transcript.note(event.message),
      timing: () => this.timing(event),
      busy: () => this.fail(event.message),
      over: () => this.fail(event.message),
    };
    acts[event.kind]?.();
  }

  think() {
    this.state("thinking", "One moment\u2026");
  }

  listen() {
    this.transcript.forget();
    this.state("listening", "Listening.");
  }

  // What the user waited for: from the known end of the turn to the first sound.
  timing({ turn, part, seconds }) {
    if (turn !== this.times?.turn) this.times = { turn, ear: 0 };
    this.times[part] = seconds;
    if (part !== "total" || !turn) return; // a greeting answers nobody
    const { ear, first_clause: written, first_audio: sounding } = this.times;
    const [all, ...parts] = [seconds, ear, written, sounding - written].map((taken) =>
      Math.round(taken * 1000),
    );
    const names = ["ear", "words", "voice"].map((name, n) => `${name} ${parts[n]}`);
    this.find("wait").textContent = `answered after ${all} ms`;
    this.find("parts").textContent = ` (${names.join(", ")})`;
  }

  next(event) {
    this.chunk = event; // its samples are the next message
    this.transcript.words(event.turn, event.words);
  }

  play(buffer) {
    const pcm = new Int16Array(buffer);
    this.recording?.answer(this.chunk.turn, this.chunk.start, pcm);
    this.loudspeaker?.play(this.chunk.turn, pcm);
  }

  sounded({ turn, seconds, playing, over, gaps }) {
    if (turn === this.silenced) return;
    this.root.dataset.gaps = gaps;
    this.tell({ kind: "played", turn, seconds });
    this.recording?.sounded(turn, seconds);
    this.transcript.sounding(turn, seconds);
    if (playing) this.state("speaking", "Speaking. Say something to interrupt.");
    if (over) {
      this.recording?.over(turn, Infinity);
      this.transcript.finished(turn);
      this.find("download").hidden = false;
      if (this.root.dataset.state === "speaking") this.state("listening", "Listening.");
    }
  }

  interrupted({ turn, heard, seconds }) {
    this.silenced = turn;
    this.loudspeaker?.drop();
    this.recording?.over(turn, seconds);
    this.transcript.interrupted(turn, heard);
    this.find("download").hidden = false;
    this.root.dataset.interruptions = Number(this.root.dataset.interruptions || 0) + 1;
    this.state("listening", "Interrupted. Listening.");
  }

  async type(event) {
    event.preventDefault();
    const text = this.find("text").value.trim();
    if (!text) return;
    this.find("text").value = "";
    await this.start(false);
    if (!this.socket) return;
    this.tell({ kind: "ask", text });
    this.think();
  }

  // For people without a microphone: a recorded question in its place, at its own pace.
  async sample() {
    if (this.sampling) return;
    this.sampling = true;
    try {
      await this.start(false);
      await this.playSample();
    } catch (error) {
      this.transcript.note(`The sample question cannot be played (${error.message}).`);
    } finally {
      this.sampling = false;
      this.level(0);
    }
  }

  async playSample() {
    const context = new OfflineAudioContext(1, 1, 16000);
    const file = await (await fetch(new URL("../sample.wav", HERE))).arrayBuffer();
    const samples = (await context.decodeAudioData(file)).getChannelData(0);
    const size = Math.round(SAMPLE_BLOCK * 16000);
    const silence = new Float32Array(16000);
    const sound = new Float32Array([...samples, ...silence]);
    for (let start = 0; start < sound.length && this.wanted; start += size) {
      this.hear(sound.subarray(start, start + size), 16000);
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_BLOCK * 1000));
    }
  }

  download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(this.recording.wav());
    link.download = "conversation.wav";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

// Gradio puts the elements there when it is ready.
function begin() {
  const root = document.querySelector("#talk");
  if (root) window.vocalmtp = new Talk(root);
  else setTimeout(begin, 50);
}
begin();
