// Speech from the graphs that `vocalmtp export --onnx` writes: greedy decoding of one sentence at a
// time, as in vocalmtp/decoding and vocalmtp/onnx. A model with a text track is needed.

import * as ort from "./ort.wasm.min.mjs";
import { Pronouncer } from "./phones.js";

ort.env.wasm.numThreads = 1; // more need headers that a static host does not send

const CONTROL_SPEECH = 0; // index of the control token that announces speech
const QUIET = 0.02, FADE = 0.03; // seconds of an utterance's ends, see tokenizers/spec.py

const int64 = (values, shape) =>
  new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape ?? [values.length]);
const float32 = (values, shape) => new ort.Tensor("float32", Float32Array.from(values), shape);

/** The slots of a step, as TokenLayout.slots. */
function slotsOf({ streams, frames_per_step: group }) {
  const joint = streams.filter((s) => s.joint);
  const framed = streams.filter((s) => !s.joint);
  const slots = joint.map((s) => ({ ...s, size: s.size ** group, base: s.size, frame: 0 }));
  for (let frame = 0; frame < group; frame++) slots.push(...framed.map((s) => ({ ...s, frame })));
  let start = 0;
  return slots.map((slot) => {
    const placed = { ...slot, start, end: slot.size, pad: slot.size + 1 };
    start += slot.size + 2;
    return placed;
  });
}

export class Engine {
  /** Load the graphs and weights in `folder`; `report` is called with what is being loaded. */
  static async load(folder, report = () => {}) {
    const engine = new Engine();
    const fetched = async (name) => {
      const response = await fetch(`${folder}/${name}`);
      if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
      return new Uint8Array(await response.arrayBuffer());
    };
    const json = async (name) => JSON.parse(new TextDecoder().decode(await fetched(name)));
    engine.manifest = await json("onnx.json");
    engine.voices = await json("voices.json");
    engine.card = await json("card.json");
    if (engine.manifest.phones) {
      report("pronunciations");
      engine.pronouncer = await Pronouncer.load(folder);
    }
    engine.slots = slotsOf(engine.manifest.layout);
    for (const [part, names] of [["", ["prompt", "text", "step", "lm"]], ["tokenizer/", ["frames", "samples"]]]) {
      report(`weights of ${part ? "the tokenizer" : "the language model"}`);
      const weights = await fetched(`${part}model.safetensors`);
      for (const name of names) {
        report(name);
        const options = { externalData: [{ path: "model.safetensors", data: weights }] };
        engine[name] = await ort.InferenceSession.create(await fetched(`${part}${name}.onnx`), options);
      }
    }
    return engine;
  }

  get sampleRate() {
    return this.manifest.codec.sample_rate;
  }

  /** Speak one sentence: Float32Array of samples. */
  async speak(sentence, voice) {
    const vector = float32(this.voices[voice], [1, this.voices[voice].length]);
    return this.decode(await this.generate(sentence, vector), vector);
  }

  /** The steps of a sentence, an array of tokens each, and the index of the end. */
  async generate(sentence, vector) {
    const { manifest, slots } = this;
    const phones = this.pronouncer?.numbers(sentence);
    const characters = [...sentence].map(
      (character, i) => manifest.alphabet.indexOf(character) + manifest.alphabet.length * (phones?.[i] ?? 0),
    );
    const { text } = await this.text.run({ characters: int64(characters) });
    const width = text.dims[1], group = manifest.layout.frames_per_step;
    const { control, ...made } = await this.prompt.run({ vector });
    const conditioned = ["both", "lm"].includes(this.card.speaker_conditioning ?? "both");
    const speaker = conditioned ? made.speaker : made.no_speaker;
    const begin = [...speaker.data, ...control.data.slice(CONTROL_SPEECH, CONTROL_SPEECH + width)];
    const cache = {};
    for (let layer = 0; layer < manifest.layers; layer++)
      for (const kind of ["keys", "values"]) cache[`${kind}.${layer}`] = null;
    let logits = await this.advance(float32(begin, [1, 2, width]), cache, 0);
    const limit = Math.ceil(Math.floor((2 + 0.25 * characters.length) * manifest.codec.frame_rate) / group);
    const steps = [];
    let ended = -1, pointer = 0;
    for (;;) {
      const step = steps.length, tokens = [];
      for (const [k, slot] of slots.entries()) {
        const rule = this.rule(k, step, ended, pointer >= characters.length - 1);
        let token = rule.mustPad ? slot.pad : best(logits, slot, rule);
        if (slot.joint && token < slot.size) token = expected(logits, slot, group);
        if (k === 0 && token === slot.end && ended < 0) ended = step;
        tokens.push(token);
      }
      steps.push(tokens);
      const after = Math.max(0, Math.max(...slots.map((s) => s.delay)) - slots[0].delay - 1);
      if ((ended >= 0 && step >= ended + after) || step + 1 >= limit) return { steps, ended };
      const read = new Float32Array(group * width);
      for (let frame = 0; frame < group; frame++) {
        const moved = tokens[0] < slots[0].size ? Math.floor(tokens[0] / slots[0].base ** frame) % slots[0].base : 0;
        pointer = Math.min(pointer + moved, characters.length - 1);
        read.set(text.data.subarray(pointer * width, (pointer + 1) * width), frame * width);
      }
      const feeds = { tokens: int64(tokens, [1, tokens.length]), text: float32(read, [1, group, width]) };
      if (manifest.speaker_every_step) feeds.speaker = speaker;
      const { inputs } = await this.step.run(feeds);
      logits = await this.advance(new ort.Tensor("float32", inputs.data, [1, 1, width]), cache, step + 2);
    }
  }

  /** Whether slot k may hold the end or padding, and whether it must be padded: ConstrainedSampler. */
  rule(k, step, ended, read) {
    const slot = this.slots[k], lead = this.slots[0].delay, known = ended >= 0;
    if (k === 0) return { mayEnd: step > lead && read, mayPad: known, mustPad: known || step < slot.delay };
    const data = step - slot.delay, count = ended - lead;
    const mustPad = (known && data >= count) || data < 0;
    const ragged = (known && data === count - 1) || (!known && slot.delay <= lead);
    return { mayEnd: false, mayPad: mustPad || (ragged && slot.frame > 0), mustPad };
  }

  /** Run the backbone over inputs after `past` positions; logits of the last one. */
  async advance(inputs, cache, past) {
    const total = past + inputs.dims[1];
    const int32 = (value) => new ort.Tensor("int32", Int32Array.of(value), [1]);
    const feeds = { inputs, last: int32(total - 1), longest: int32(total) };
    for (const input of this.lm.inputMetadata) {
      if (!(input.name in cache)) continue;
      const empty = input.shape.map((size) => (typeof size === "number" ? size : 0));
      feeds[input.name] = cache[input.name] ?? float32([], [1, ...empty.slice(1)]);
    }
    const { logits, ...kept } = await this.lm.run(feeds);
    for (const name in kept) cache[name.replace("new_", "")] = kept[name];
    return logits.data;
  }

  /** Frames [t, Q] of codes from steps, as TokenLayout.unpack. */
  unpack({ steps, ended }) {
    const { slots } = this, group = this.manifest.layout.frames_per_step;
    const framed = slots.map((slot, k) => ({ ...slot, k })).filter((slot) => !slot.joint);
    const most = Math.max(...slots.map((slot) => slot.delay));
    const count = Math.max(0, ended >= 0 ? ended - slots[0].delay : steps.length - most);
    const frames = [], last = framed.filter((slot) => slot.frame === 0).map(() => 0);
    for (let n = 0; n < count; n++) {
      for (let frame = 0; frame < group; frame++) {
        const own = framed.filter((slot) => slot.frame === frame);
        const tokens = own.map((slot) => steps[n + slot.delay]?.[slot.k] ?? slot.pad);
        if (n === count - 1 && frame > 0 && tokens.every((token, q) => token === own[q].pad)) return frames;
        tokens.forEach((token, q) => (last[q] = token < own[q].size ? token : last[q]));
        frames.push([...last]);
      }
    }
    return frames;
  }

  /** Decode steps to samples. */
  async decode(generated, speaker) {
    const frames = this.unpack(generated), { lookahead, delay } = this.manifest;
    if (!frames.length) return new Float32Array();
    const streams = frames[0].length, total = frames.length + lookahead;
    const codes = [...frames.flat(), ...Array(lookahead * streams).fill(0)];
    const present = [...frames.map(() => 1), ...Array(lookahead).fill(0)];
    const made = await this.frames.run({
      ...emptyState(this.frames),
      codes: int64(codes, [total, streams]),
      present: float32(present, [total, 1]),
      speaker,
    });
    const fold = made.log_f0.data.length / total, width = made.vectors.dims[1];
    const f0 = made.log_f0.data.slice(lookahead * fold);
    const state = emptyState(this.samples);
    const lead = state.tail.data.length / (this.sampleRate / 100);
    const source = Float64Array.from([...Array(lead).fill(f0[0]), ...f0]);
    const { samples, new_tail: tail } = await this.samples.run({
      ...state,
      vectors: new ort.Tensor("float32", made.vectors.data.slice(lookahead * fold * width), [f0.length, width]),
      log_f0: new ort.Tensor("float64", f0, [f0.length]),
      source: new ort.Tensor("float64", source, [source.length]),
      last_f0: new ort.Tensor("float64", f0.slice(0, 1), [1]),
      speaker,
    });
    const wav = Float32Array.from([...samples.data.slice(delay), ...tail.data.slice(0, delay)]);
    return wav.map((x, i) => x * this.edge(i) * this.edge(wav.length - 1 - i));
  }

  /** Gain at a distance in samples from an end of an utterance. */
  edge(distance) {
    const share = Math.min(Math.max((distance / this.sampleRate - QUIET) / FADE, 0), 1);
    return 0.5 - 0.5 * Math.cos(Math.PI * share);
  }
}

/** The most likely token of a slot among those that `rule` allows. */
function best(logits, slot, { mayEnd, mayPad }) {
  const allowed = slot.size + 2;
  let token = 0;
  for (let id = 1; id < allowed; id++) {
    if ((id === slot.end && !mayEnd) || (id === slot.pad && !mayPad)) continue;
    if (logits[slot.start + id] > logits[slot.start + token]) token = id;
  }
  return token;
}

/** The token of a joint advance nearest to the expected moves of the pointer: Sampler.keep_expected. */
function expected(logits, slot, group) {
  const own = logits.subarray(slot.start, slot.start + slot.size), most = own.reduce((a, b) => Math.max(a, b));
  const moves = (token) => {
    let moved = 0;
    return Array.from({ length: group }, (_, g) => (moved += Math.floor(token / slot.base ** g) % slot.base));
  };
  const mean = new Array(group).fill(0);
  let total = 0;
  own.forEach((logit, token) => {
    const weight = Math.exp(logit - most);
    total += weight;
    moves(token).forEach((moved, g) => (mean[g] += weight * moved));
  });
  const distance = (token) => moves(token).reduce((sum, moved, g) => sum + (moved - mean[g] / total) ** 2, 0);
  let nearest = 0;
  for (let token = 1; token < slot.size; token++) if (distance(token) < distance(nearest)) nearest = token;
  return nearest;
}

/** Zeros for the inputs of a graph that an output replaces, and for its position. */
function emptyState(session) {
  const state = {};
  for (const { name, type, shape } of session.inputMetadata) {
    if (name !== "frame" && !session.outputNames.includes(`new_${name}`)) continue;
    const sizes = shape.map((size) => (typeof size === "number" ? size : 0));
    const count = sizes.reduce((a, b) => a * b, 1);
    const Type = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array }[type];
    state[name] = new ort.Tensor(type, new Type(count), sizes);
  }
  return state;
}
