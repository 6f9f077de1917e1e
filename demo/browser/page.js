// The page: a text and a voice in, speech out, and a WAV file to save.

import { Engine } from "./engine.js";
import { sentences } from "./text.js";

const PAUSE = 0.25; // seconds between sentences
const at = (id) => document.getElementById(id);
const tell = (line) => (at("status").textContent = line);

/** A WAV file of 16 bits. */
function wavOf(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (offset, letters) => [...letters].forEach((c, i) => view.setUint8(offset + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  [[16, 16], [24, rate], [28, 2 * rate], [40, 2 * samples.length]].forEach(([o, v]) => view.setUint32(o, v, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([o, v]) => view.setUint16(o, v, true));
  text(36, "data");
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, x)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

/** Speak a text, sentence by sentence; the samples of all. */
async function speak(engine, text, voice) {
  const parts = sentences(text, engine.manifest.alphabet);
  if (!parts.length) {
    tell("Nothing that can be read: type some English words.");
    return [];
  }
  const context = new AudioContext({ sampleRate: engine.sampleRate });
  const begun = performance.now(), all = [];
  let next = 0;
  for (const [number, part] of parts.entries()) {
    tell(`Speaking ${number + 1} of ${parts.length} …`);
    const spoken = await engine.speak(part, voice);
    const samples = new Float32Array(spoken.length + Math.round(PAUSE * engine.sampleRate));
    samples.set(spoken);
    const buffer = context.createBuffer(1, samples.length, engine.sampleRate);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    next = Math.max(next, context.currentTime + 0.05);
    source.start(next);
    next += buffer.duration;
    all.push(...(number + 1 < parts.length ? samples : spoken));
  }
  const seconds = all.length / engine.sampleRate, spent = (performance.now() - begun) / 1000;
  tell(`${seconds.toFixed(1)} s of speech in ${spent.toFixed(1)} s.`);
  at("save").href = URL.createObjectURL(wavOf(all, engine.sampleRate));
  at("save").hidden = false;
  return all;
}

async function main() {
  window.vocalmtp = { ready: false, samples: null };
  const engine = await Engine.load("model", (part) => tell(`Loading ${part} …`));
  at("voice").replaceChildren(...Object.keys(engine.voices).map((name) => new Option(name)));
  at("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("speak").disabled = true;
    window.vocalmtp.samples = null;
    try {
      window.vocalmtp.samples = await speak(engine, at("text").value, at("voice").value);
    } catch (error) {
      tell(`Failed: ${error.message}`);
    } finally {
      at("speak").disabled = false;
    }
  });
  at("speak").disabled = false;
  tell("Ready: everything runs on this device.");
  window.vocalmtp.ready = true;
}

main().catch((error) => tell(`The model cannot be loaded: ${error.message}`));
