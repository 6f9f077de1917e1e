// Gathers the static page in a folder: node build.mjs [OUTPUT] [MODEL]
// OUTPUT is dist/ by default, MODEL a model folder with graphs (vocalmtp export MODEL --onnx).

import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = resolve(process.argv[2] ?? join(here, "dist"));
const model = resolve(process.argv[3] ?? join(here, "../../vocalmtp/pretrained/mini"));
const runtime = join(here, "node_modules/onnxruntime-web/dist");

function stop(line) {
  console.error(`error: ${line}`);
  process.exit(2);
}

if (!existsSync(runtime)) stop("onnxruntime-web is missing; run: npm install");
if (!existsSync(join(model, "onnx.json")))
  stop(`model '${model}': has no ONNX graphs; run: vocalmtp export MODEL --onnx`);

/** The speaker vector in a voice file: the only tensor of a safetensors file, in float32. */
function vectorOf(file) {
  const bytes = readFileSync(file);
  const size = Number(bytes.readBigUInt64LE(0));
  const { vector } = JSON.parse(bytes.subarray(8, 8 + size).toString());
  const [begin, end] = vector.data_offsets.map((offset) => 8 + size + offset);
  return Array.from({ length: (end - begin) / 4 }, (_, i) => bytes.readFloatLE(begin + 4 * i));
}

mkdirSync(join(output, "model/tokenizer"), { recursive: true });
for (const file of ["index.html", "page.js", "engine.js", "text.js"])
  cpSync(join(here, file), join(output, file));
for (const file of readdirSync(runtime))
  if (/^ort\.wasm\.min\.mjs$|^ort-wasm-simd-threaded\.(mjs|wasm)$/.test(file))
    cpSync(join(runtime, file), join(output, file));
for (const folder of ["", "tokenizer"])
  for (const file of readdirSync(join(model, folder)))
    if (/\.(onnx|safetensors)$|^onnx\.json$/.test(file))
      cpSync(join(model, folder, file), join(output, "model", folder, file));
const voices = readdirSync(join(model, "voices")).filter((file) => file.endsWith(".safetensors"));
const vectors = voices.map((file) => [
  file.replace(".safetensors", ""),
  vectorOf(join(model, "voices", file)),
]);
writeFileSync(join(output, "model/voices.json"), JSON.stringify(Object.fromEntries(vectors)));
console.log(`${output}: serve it, for example with: python -m http.server -d ${output}`);
