// The conversation as a WAV file: the user on the left, the answers on the right.

export class Recording {
  constructor(rate) {
    this.rate = rate;
    this.begin = performance.now();
    this.pieces = []; // { side, start (samples), samples: Int16Array }
    this.answers = new Map(); // turn -> its pieces, until they have sounded
  }

  now() {
    return Math.round(((performance.now() - this.begin) / 1000) * this.rate);
  }

  user(samples, rate) {
    const ratio = rate / this.rate;
    const kept = new Int16Array(Math.floor(samples.length / ratio));
    for (let n = 0; n < kept.length; n++) {
      const first = Math.floor(n * ratio);
      const end = Math.max(first + 1, Math.floor((n + 1) * ratio));
      let sum = 0;
      for (let k = first; k < end; k++) sum += samples[k];
      kept[n] = Math.max(-1, Math.min(1, sum / (end - first))) * 32767;
    }
    this.pieces.push({ side: 0, start: Math.max(0, this.now() - kept.length), samples: kept });
  }

  answer(turn, seconds, samples) {
    if (!this.answers.has(turn)) this.answers.set(turn, { start: null, pieces: [] });
    this.answers.get(turn).pieces.push({ offset: Math.round(seconds * this.rate), samples });
  }

  sounded(turn, seconds) {
    const answer = this.answers.get(turn);
    if (!answer) return;
    answer.heard = seconds;
    if (answer.start === null) {
      answer.start = Math.max(0, this.now() - Math.round(seconds * this.rate));
    }
  }

  // Keep what has sounded of every answer: nothing more comes of them.
  flush() {
    for (const [turn, { heard }] of this.answers) this.over(turn, heard ?? 0);
  }

  over(turn, seconds) {
    const answer = this.answers.get(turn);
    if (!answer) return;
    this.answers.delete(turn);
    if (answer.start === null) return;
    for (const { offset, samples } of answer.pieces) {
      const kept = samples.subarray(0, Math.max(0, Math.round(seconds * this.rate) - offset));
      if (kept.length) this.pieces.push({ side: 1, start: answer.start + offset, samples: kept });
    }
  }

  wav() {
    const ends = this.pieces.map((piece) => piece.start + piece.samples.length);
    const count = ends.reduce((most, end) => Math.max(most, end), 0);
    const data = new DataView(new ArrayBuffer(44 + count * 4));
    const text = (place, letters) =>
      [...letters].forEach((letter, n) => data.setUint8(place + n, letter.charCodeAt(0)));
    text(0, "RIFF");
    data.setUint32(4, 36 + count * 4, true);
    text(8, "WAVEfmt ");
    data.setUint32(16, 16, true);
    data.setUint16(20, 1, true);
    data.setUint16(22, 2, true);
    data.setUint32(24, this.rate, true);
    data.setUint32(28, this.rate * 4, true);
    data.setUint16(32, 4, true);
    data.setUint16(34, 16, true);
    text(36, "data");
    data.setUint32(40, count * 4, true);
    for (const { side, start, samples } of this.pieces) {
      samples.forEach((sample, n) => data.setInt16(44 + (start + n) * 4 + side * 2, sample, true));
    }
    return new Blob([data], { type: "audio/wav" });
  }
}
