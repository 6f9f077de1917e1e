// The phones of the letters of a text, as vocalmtp/text/pronunciation.py: a lexicon, and a small network
// for words that it lacks.

const VOWELS = "aa ae ah ao aw ay eh er ey ih iy ow oy uh uw".split(" ");
const CONSONANTS = "b ch d dh f g hh jh k l m n ng p r s sh t th v w y z zh".split(" ");
const PHONES = [...VOWELS.flatMap((vowel) => [0, 1, 2].map((stress) => vowel + stress)), "ax", ...CONSONANTS];
const IDS = new Map(PHONES.map((phone, place) => [phone, place + 1])); // 0: no phone
const LETTERS = "abcdefghijklmnopqrstuvwxyz'"; // of the network; the border of a word has the next id
const LONGEST = 3; // phones of one letter
const UNSEEN = -12, UNSEEN_TOGETHER = -4; // log probabilities, see letter_phones.py
const KERNEL = 5;

const plain = (phone) => phone.replace(/[012]$/, "");

export class Pronouncer {
  /** Read lexicon.txt.gz and network.json (written by build.mjs) from `folder`. */
  static async load(folder) {
    const pronouncer = new Pronouncer();
    const [lexicon, network] = await Promise.all([fetch(`${folder}/lexicon.txt.gz`), fetch(`${folder}/network.json`)]);
    for (const response of [lexicon, network])
      if (!response.ok) throw new Error(`${response.url}: ${response.status} ${response.statusText}`);
    const lines = await new Response(lexicon.body.pipeThrough(new DecompressionStream("gzip"))).text();
    const words = lines.trim().split("\n").map((line) => line.split(" "));
    pronouncer.lexicon = new Map(words.map(([word, ...phones]) => [word, phones]));
    Object.assign(pronouncer, await network.json());
    pronouncer.classes = pronouncer.classes.map((phones) => phones.split(" ").filter(Boolean));
    return pronouncer;
  }

  /** A number for each character of a text: the ids of its phones, as digits to the base PHONES.length + 1. */
  numbers(text) {
    const numbers = Array(text.length).fill(0);
    for (const { 0: word, index } of text.matchAll(/[a-z']*[a-z][a-z']*/g))
      this.pronounce(word).forEach((chunk, i) => {
        numbers[index + i] = chunk.reduce((sum, phone, place) => sum + IDS.get(phone) * (PHONES.length + 1) ** place, 0);
      });
    return numbers;
  }

  /** The phones of every character of a word. */
  pronounce(word) {
    const known = this.lexicon.get(word);
    if (known) return this.spread(word, known);
    if (word.endsWith("'s") && word.length > 2) {
      const stem = this.pronounce(word.slice(0, -2));
      const last = stem.flat().at(-1) ?? "";
      if (["s", "z", "sh", "zh", "ch", "jh"].includes(last)) return [...stem, [], ["ax", "z"]];
      return [...stem, [], [["p", "t", "k", "f", "th"].includes(last) ? "s" : "z"]];
    }
    return this.predict(word);
  }

  /** Phones of the lexicon, split over the characters of a word: the likeliest split by the table. */
  spread(word, phones) {
    const bare = word.replaceAll("'", ""), sounds = phones.map(plain);
    const best = [new Map([[0, { score: 0 }]])]; // phones used -> score and size of the last chunk
    for (const letter of bare) {
      const row = new Map();
      for (const [used, { score }] of best.at(-1))
        for (let size = 0; size <= Math.min(LONGEST, sounds.length - used); size++) {
          const total = score + this.score(letter, sounds.slice(used, used + size));
          const known = row.get(used + size);
          if (!known || total > known.score) row.set(used + size, { score: total, size });
        }
      best.push(row);
    }
    const chunks = [];
    let used = phones.length;
    for (const row of best.slice(1).reverse()) {
      const { size } = row.get(used);
      chunks.unshift(phones.slice(used - size, used));
      used -= size;
    }
    return [...word].map((character) => (character === "'" ? [] : chunks.shift()));
  }

  score(letter, chunk) {
    const scores = this.table[letter] ?? {};
    const value = scores[chunk.join(" ")];
    if (value !== undefined) return value;
    if (!chunk.length) return UNSEEN;
    return chunk.reduce((sum, phone) => sum + (scores[phone] ?? UNSEEN), UNSEEN_TOGETHER);
  }

  /** The phones of every character of a word by the network: residual convolutions over its letters. */
  predict(word) {
    const w = this.weights, border = LETTERS.length;
    let x = [border, ...[...word].map((letter) => LETTERS.indexOf(letter)), border].map((id) => w.embedding[id]);
    for (let layer = 0; w[`weight${layer}`]; layer++) {
      const before = x; // [L][W]
      x = before.map((row, place) =>
        row.map((value, out) => {
          let sum = w[`bias${layer}`][out];
          for (let tap = 0; tap < KERNEL; tap++) {
            const near = before[place + tap - (KERNEL >> 1)];
            if (near) for (let i = 0; i < near.length; i++) sum += w[`weight${layer}`][out][i][tap] * near[i];
          }
          return value + Math.max(sum, 0);
        }),
      );
    }
    return x.slice(1, -1).map((row) => {
      const logits = w.output.map((weights, c) => weights.reduce((sum, weight, i) => sum + weight * row[i], w.output_bias[c]));
      return this.classes[logits.indexOf(Math.max(...logits))];
    });
  }
}
