// The conversation of the page: a socket between microphone, loudspeaker and transcript.

import { Loudspeaker, Microphone, microphoneError } from "./audio.js";
import { Recording } from "./recording.js";
import { Transcript } from "./transcript.js";

const HERE = new URL(".", import.meta.url);
const RETRIES = [500, 1000, 2000, 4000, 8000]; // milliseconds
const STABLE = 5000; // milliseconds after which a connection counts as stable
const SAMPLE_RATE = 16000; // Hz, of the sample question
const SAMPLE_BLOCK = 0.05; // seconds of the sample question in one message

class Talk {
  constructor(root) {
    this.root = root;
    this.find = (name) => root.querySelector(`#talk-${name}`);
    this.transcript = new Transcript(this.find("log"));
    this.settings = {};
    this.microphone = this.loudspeaker = this.socket = this.recording = null;
    this.running = false; // a conversation is wanted
    this.samplePlaying = false; // the sample question replaces the microphone
    this.retries = 0;
    this.setState("idle", "Press the button and speak.");
    this.find("button").onclick = () => (this.running ? this.stop() : this.start(true));
    this.find("sample").onclick = () => this.askSample();
    this.find("interrupt").onclick = () => this.send({ kind: "interrupt" });
    this.find("download").onclick = () => this.download();
    this.find("form").onsubmit = (event) => this.askTyped(event);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.send({ kind: "interrupt" });
    });
  }

  setState(name, status) {
    this.root.dataset.state = name;
    if (status) this.find("status").textContent = status;
    this.find("button").setAttribute("aria-pressed", String(this.running));
    this.find("label").textContent = this.running ? "Stop" : "Talk";
  }

  fail(message) {
    this.stop();
    this.setState("error", message);
  }

  // -- the connection --

  async start(withMicrophone) {
    if (this.running && (this.microphone || !withMicrophone)) return;
    this.running = true;
    this.setState("connecting", "Connecting\u2026");
    if (withMicrophone) {
      const microphone = (this.microphone = new Microphone());
      try {
        await microphone.open(
          (samples, rate) => this.samplePlaying || this.sendAudio(samples, rate),
          () => this.fail("The microphone was disconnected."),
        );
      } catch (error) {
        if (this.microphone === microphone) this.fail(microphoneError(error));
        return;
      }
      if (this.microphone !== microphone) return microphone.close(); // stopped in the meantime
    }
    if (this.running && !this.socket) await this.connect();
  }

  stop() {
    this.running = false;
    this.endConversation();
    this.microphone?.close();
    this.loudspeaker?.close();
    this.socket?.close();
    this.microphone = this.loudspeaker = this.socket = null;
    this.setLevel(0);
    this.setState("idle", "Press the button and speak.");
  }

  connect() {
    const address = new URL("../socket", HERE);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    return new Promise((resolve) => {
      const opened = performance.now();
      socket.onopen = () => this.send({ kind: "settings", ...this.settings });
      socket.onmessage = async ({ data }) => {
        if (typeof data !== "string") return this.onAudio(data);
        const event = JSON.parse(data);
        if (event.kind === "ready") this.prepared = this.prepare(event);
        if (event.kind === "listening") await this.prepared;
        this.onEvent(event);
        if (event.kind === "listening") resolve(); // the conversation has begun
      };
      socket.onclose = () => {
        resolve();
        if (this.socket === socket) this.reconnect(performance.now() - opened > STABLE);
      };
    });
  }

  async prepare({ sample_rate: rate }) {
    const first = !this.recording;
    this.recording ??= new Recording(rate);
    if (!this.loudspeaker) {
      this.loudspeaker = new Loudspeaker();
      await this.loudspeaker.open(rate, (progress) => this.onProgress(progress));
    }
    if (!first) this.transcript.addNote("New conversation: earlier turns are forgotten.");
    else if (this.microphone) this.send({ kind: "greet" });
  }

  // The next connection is a new conversation, whose turns count from 1 again.
  endConversation() {
    this.recording?.endAllAnswers();
    this.transcript.restart();
    this.interruptedTurn = undefined;
  }

  reconnect(stable) {
    this.socket = null;
    this.loudspeaker?.clear();
    this.endConversation();
    if (!this.running) return;
    if (stable) this.retries = 0;
    if (this.retries >= RETRIES.length) return this.fail("The server cannot be reached.");
    this.setState("connecting", "The connection was lost; connecting again\u2026");
    setTimeout(() => this.running && !this.socket && this.connect(), RETRIES[this.retries++]);
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  configure(settings) {
    Object.assign(this.settings, settings);
    this.send({ kind: "settings", ...settings });
  }

  // -- input --

  sendAudio(samples, rate) {
    let peak = 0;
    const pcm = Int16Array.from(samples, (sample) => {
      peak = Math.max(peak, Math.abs(sample));
      return Math.max(-1, Math.min(1, sample)) * 32767;
    });
    this.setLevel(peak);
    if (this.socket?.readyState !== WebSocket.OPEN || !this.recording) return;
    if (rate !== this.rate || this.rateSocket !== this.socket) {
      this.send({ kind: "rate", rate });
      Object.assign(this, { rate, rateSocket: this.socket });
    }
    this.socket.send(pcm.buffer);
    this.recording.addUser(samples, rate);
  }

  setLevel(peak) {
    const decibels = 20 * Math.log10(peak + 1e-6);
    const level = Math.max(0, Math.min(1, 1 + decibels / 60));
    this.find("level").setAttribute("aria-valuenow", Math.round(level * 100));
    this.root.style.setProperty("--talk-level", level);
  }

  async askTyped(event) {
    event.preventDefault();
    const text = this.find("text").value.trim();
    if (!text) return;
    this.find("text").value = "";
    await this.start(false);
    if (!this.socket) return;
    this.send({ kind: "ask", text });
    this.onThinking();
  }

  // Replaces the microphone by a recorded question, at the pace of speech.
  async askSample() {
    if (this.samplePlaying) return;
    this.samplePlaying = true;
    try {
      await this.start(false);
      await this.sendSample();
    } catch (error) {
      this.transcript.addNote(`The sample question cannot be played (${error.message}).`);
    } finally {
      this.samplePlaying = false;
      this.setLevel(0);
    }
  }

  async sendSample() {
    const context = new OfflineAudioContext(1, 1, SAMPLE_RATE);
    const file = await (await fetch(new URL("../sample.wav", HERE))).arrayBuffer();
    const question = (await context.decodeAudioData(file)).getChannelData(0);
    const silence = new Float32Array(SAMPLE_RATE);
    const samples = new Float32Array([...question, ...silence]);
    const size = Math.round(SAMPLE_BLOCK * SAMPLE_RATE);
    for (let start = 0; start < samples.length && this.running; start += size) {
      this.sendAudio(samples.subarray(start, start + size), SAMPLE_RATE);
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_BLOCK * 1000));
    }
  }

  // -- events of the server --

  onEvent(event) {
    const { turn } = event;
    const handlers = {
      listening: () => this.onListening(),
      speech_started: () => this.setState("user-speaking", "You are speaking\u2026"),
      speech_ended: () => this.onThinking(),
      transcript: () => this.transcript.setUserText(turn, event.text, event.final),
      thinking: () => this.onThought(event),
      text_delta: () => this.transcript.addAnswerText(turn, event.text),
      audio_chunk: () => this.onChunk(event),
      finished: () => (event.seconds ? this.loudspeaker?.end(turn) : this.onListening()),
      interrupted: () => this.onInterrupted(event),
      error: () => this.transcript.addNote(event.message),
      timing: () => this.onTiming(event),
      busy: () => this.fail(event.message),
      over: () => this.fail(event.message),
    };
    handlers[event.kind]?.();
  }

  onThinking() {
    this.setState("thinking", "Preparing an answer\u2026");
  }

  // The language model thinks: `text` is empty unless thoughts are to be shown.
  onThought({ turn, text }) {
    if (this.root.dataset.state !== "speaking") this.setState("thinking", "Thinking\u2026");
    if (text) this.transcript.addThought(turn, text);
  }

  onListening() {
    this.transcript.removePartial();
    this.setState("listening", "Listening.");
  }

  // The user's waiting time: from the detected end of the turn to the first audio.
  onTiming({ turn, part, seconds }) {
    if (turn !== this.timings?.turn) this.timings = { turn, recognition: 0 };
    this.timings[part] = seconds;
    if (part !== "total" || !turn) return; // a greeting has no turn
    const { recognition, first_clause: text, first_audio: audio } = this.timings;
    const [all, ...parts] = [seconds, recognition, text, audio - text].map((value) =>
      Math.round(value * 1000),
    );
    const names = ["recognition", "text", "speech"].map((name, n) => `${name} ${parts[n]}`);
    this.find("latency-total").textContent = `answered after ${all} ms`;
    this.find("latency-parts").textContent = ` (${names.join(", ")})`;
  }

  onChunk(event) {
    this.chunk = event; // its samples are in the next message
    this.transcript.addWords(event.turn, event.words);
  }

  onAudio(buffer) {
    const pcm = new Int16Array(buffer);
    this.recording?.addAnswer(this.chunk.turn, this.chunk.start, pcm);
    this.loudspeaker?.play(this.chunk.turn, pcm);
  }

  onProgress({ turn, seconds, playing, finished, gaps }) {
    if (turn === this.interruptedTurn) return;
    this.root.dataset.gaps = gaps;
    this.send({ kind: "played", turn, seconds });
    this.recording?.setProgress(turn, seconds);
    this.transcript.setProgress(turn, seconds);
    if (playing) this.setState("speaking", "Answering. Speak, or press Esc, to interrupt.");
    if (finished) {
      this.recording?.endAnswer(turn, Infinity);
      this.transcript.endAnswer(turn);
      this.find("download").hidden = false;
      if (this.root.dataset.state === "speaking") this.setState("listening", "Listening.");
    }
  }

  onInterrupted({ turn, played_text: playedText, seconds }) {
    this.interruptedTurn = turn;
    this.loudspeaker?.clear();
    this.recording?.endAnswer(turn, seconds);
    this.transcript.interruptAnswer(turn, playedText);
    this.find("download").hidden = false;
    this.root.dataset.interruptions = Number(this.root.dataset.interruptions || 0) + 1;
    this.setState("listening", "Interrupted. Listening.");
  }

  download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(this.recording.wav());
    link.download = "conversation.wav";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

// Gradio inserts the elements when it is ready.
function initialize() {
  const root = document.querySelector("#talk");
  if (root) window.vocalmtp = new Talk(root);
  else setTimeout(initialize, 50);
}
initialize();
