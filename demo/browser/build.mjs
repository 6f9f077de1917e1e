// Gathers the static page in a folder: node build.mjs [OUTPUT] [MODEL]
// OUTPUT is dist/ by default, MODEL a model folder with graphs (vocalmtp export MODEL --onnx).

import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = resolve(process.argv[2] ?? join(here, "dist"));
const model = resolve(process.argv[3] ?? join(here, "../../vocalmtp/pretrained/mini"));
const pronunciation = join(here, "../../vocalmtp/pretrained/pronunciation");
const runtime = join(here, "node_modules/onnxruntime-web/dist");

function stop(line) {
  console.error(`error: ${line}`);
  process.exit(2);
}

if (!existsSync(runtime)) stop("onnxruntime-web is missing; run: npm install");
if (!existsSync(join(model, "onnx.json")))
  stop(`model '${model}': has no ONNX graphs; run: vocalmtp export MODEL --onnx`);

/** The tensors of a safetensors file as nested arrays: { name: values }. */
function tensorsOf(file) {
  const bytes = readFileSync(file);
  const size = Number(bytes.readBigUInt64LE(0));
  const { __metadata__, ...entries } = JSON.parse(bytes.subarray(8, 8 + size).toString());
  return Object.fromEntries(
    Object.entries(entries).map(([name, { dtype, shape, data_offsets: [begin, end] }]) => {
      const data = bytes.subarray(8 + size + begin, 8 + size + end);
      const values = dtype === "F16" ? halves(data) : Array.from({ length: data.length / 4 }, (_, i) => data.readFloatLE(4 * i));
      return [name, nested(values, shape)];
    }),
  );
}

/** Numbers of float16. */
function halves(data) {
  return Array.from({ length: data.length / 2 }, (_, i) => {
    const bits = data.readUInt16LE(2 * i), exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024;
    return bits >> 15 ? -size : size;
  });
}

function nested(values, [, ...inner]) {
  if (!inner.length) return values;
  const size = inner.reduce((a, b) => a * b), rows = [];
  for (let start = 0; start < values.length; start += size) rows.push(nested(values.slice(start, start + size), inner));
  return rows;
}

mkdirSync(join(output, "model/tokenizer"), { recursive: true });
for (const file of ["index.html", "page.js", "engine.js", "text.js", "phones.js"])
  cpSync(join(here, file), join(output, file));
for (const file of readdirSync(runtime))
  if (/^ort\.wasm\.min\.mjs$|^ort-wasm-simd-threaded\.(mjs|wasm)$/.test(file))
    cpSync(join(runtime, file), join(output, file));
for (const folder of ["", "tokenizer"])
  for (const file of readdirSync(join(model, folder)))
    if (/\.(onnx|safetensors)$|^onnx\.json$/.test(file))
      cpSync(join(model, folder, file), join(output, "model", folder, file));
cpSync(join(model, "card.json"), join(output, "model/card.json"));
const { default_voice: first } = JSON.parse(readFileSync(join(model, "card.json")));
const files = readdirSync(join(model, "voices")).filter((file) => file.endsWith(".safetensors"));
const voices = files.map((file) => file.replace(".safetensors", "")).sort((a, b) => (b === first) - (a === first));
const vectors = voices.map((name) => [name, tensorsOf(join(model, "voices", `${name}.safetensors`)).vector]);
writeFileSync(join(output, "model/voices.json"), JSON.stringify(Object.fromEntries(vectors)));
cpSync(join(pronunciation, "lexicon.txt.gz"), join(output, "model/lexicon.txt.gz"));
const letters = JSON.parse(readFileSync(join(pronunciation, "letters.json")));
const network = { ...letters, weights: tensorsOf(join(pronunciation, "network.safetensors")) };
writeFileSync(join(output, "model/network.json"), JSON.stringify(network));
console.log(`${output}: serve it, for example with: python -m http.server -d ${output}`);
