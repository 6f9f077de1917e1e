// The conversation as a WAV file: the user on the left channel, the answers on the right.

const HEADER = 44; // bytes
const FRAME = 4; // bytes of two 16-bit samples

export class Recording {
  constructor(rate) {
    this.rate = rate;
    this.begin = performance.now();
    this.pieces = []; // { channel, start (samples), samples: Int16Array }
    this.answers = new Map(); // turn -> { start, pieces, played }, until it was played
  }

  now() {
    return Math.round(((performance.now() - this.begin) / 1000) * this.rate);
  }

  addUser(samples, rate) {
    const ratio = rate / this.rate;
    const resampled = new Int16Array(Math.floor(samples.length / ratio));
    for (let n = 0; n < resampled.length; n++) {
      const first = Math.floor(n * ratio);
      const end = Math.max(first + 1, Math.floor((n + 1) * ratio));
      let sum = 0;
      for (let k = first; k < end; k++) sum += samples[k];
      resampled[n] = Math.max(-1, Math.min(1, sum / (end - first))) * 32767;
    }
    const start = Math.max(0, this.now() - resampled.length);
    this.pieces.push({ channel: 0, start, samples: resampled });
  }

  addAnswer(turn, seconds, samples) {
    if (!this.answers.has(turn)) this.answers.set(turn, { start: null, pieces: [], played: 0 });
    this.answers.get(turn).pieces.push({ offset: Math.round(seconds * this.rate), samples });
  }

  setProgress(turn, seconds) {
    const answer = this.answers.get(turn);
    if (!answer) return;
    answer.played = seconds;
    if (answer.start === null) {
      answer.start = Math.max(0, this.now() - Math.round(seconds * this.rate));
    }
  }

  // Ends an answer of which `seconds` were played.
  endAnswer(turn, seconds) {
    const answer = this.answers.get(turn);
    if (!answer) return;
    this.answers.delete(turn);
    if (answer.start === null) return;
    for (const { offset, samples } of answer.pieces) {
      const played = samples.subarray(0, Math.max(0, Math.round(seconds * this.rate) - offset));
      if (played.length) {
        this.pieces.push({ channel: 1, start: answer.start + offset, samples: played });
      }
    }
  }

  endAllAnswers() {
    for (const [turn, { played }] of this.answers) this.endAnswer(turn, played);
  }

  wav() {
    const ends = this.pieces.map((piece) => piece.start + piece.samples.length);
    const size = FRAME * ends.reduce((most, end) => Math.max(most, end), 0);
    const data = new DataView(new ArrayBuffer(HEADER + size));
    const setText = (place, text) =>
      [...text].forEach((letter, n) => data.setUint8(place + n, letter.charCodeAt(0)));
    setText(0, "RIFF");
    data.setUint32(4, HEADER - 8 + size, true);
    setText(8, "WAVEfmt ");
    data.setUint32(16, 16, true);
    data.setUint16(20, 1, true);
    data.setUint16(22, 2, true);
    data.setUint32(24, this.rate, true);
    data.setUint32(28, this.rate * FRAME, true);
    data.setUint16(32, FRAME, true);
    data.setUint16(34, 16, true);
    setText(36, "data");
    data.setUint32(40, size, true);
    for (const { channel, start, samples } of this.pieces) {
      samples.forEach((sample, n) =>
        data.setInt16(HEADER + (start + n) * FRAME + channel * 2, sample, true),
      );
    }
    return new Blob([data], { type: "audio/wav" });
  }
}
