// Audio worklets of the page: blocks of the microphone out, samples of the answers in.

const BLOCK = 1024; // samples of the microphone in one message
const REPORT = 0.05; // seconds between two progress reports of the player

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
  }

  process([input]) {
    const channel = input[0];
    if (!channel) return true;
    for (const sample of channel) {
      this.block[this.filled++] = sample;
      if (this.filled === BLOCK) {
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

// Plays one answer at a time. Playback begins, and resumes after a gap, when the buffer is full
// enough for the network's jitter; a complete answer needs no buffer.
class Player extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.buffer = options.processorOptions.buffer * sampleRate;
    this.reset(0);
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  reset(turn) {
    Object.assign(this, { turn, chunks: [], offset: 0, waiting: 0, played: 0, gaps: 0 });
    Object.assign(this, { playing: false, complete: false, reported: 0 });
  }

  receive(message) {
    if (message.kind === "clear") return this.reset(0);
    if (message.turn !== this.turn) this.reset(message.turn);
    if (message.kind === "end") this.complete = true;
    if (message.kind === "push") {
      this.chunks.push(message.samples);
      this.waiting += message.samples.length;
    }
  }

  process(_, [output]) {
    const channel = output[0];
    if (!this.playing && this.waiting && (this.complete || this.waiting >= this.buffer)) {
      this.playing = true;
      this.report();
    }
    let place = 0;
    while (this.playing && place < channel.length && this.waiting) {
      const chunk = this.chunks[0];
      const count = Math.min(channel.length - place, chunk.length - this.offset);
      channel.set(chunk.subarray(this.offset, this.offset + count), place);
      place += count;
      this.offset += count;
      this.waiting -= count;
      this.played += count;
      if (this.offset === chunk.length) {
        this.chunks.shift();
        this.offset = 0;
      }
    }
    if (this.playing && !this.waiting) {
      this.playing = false;
      if (!this.complete) this.gaps += 1;
      this.report();
    }
    if (this.playing && this.played - this.reported > REPORT * sampleRate) this.report();
    return true;
  }

  report() {
    this.reported = this.played;
    this.port.postMessage({
      turn: this.turn,
      seconds: this.played / sampleRate,
      playing: this.playing,
      finished: this.complete && !this.waiting,
      gaps: this.gaps,
    });
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("player", Player);
