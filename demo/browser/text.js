// Text to what the model reads: lower-case letters and signs, with whole numbers as words. The Python
// package has far more rules (dates, money, units, abbreviations): docs/synthesis.md.

const ONES = (
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen " +
  "sixteen seventeen eighteen nineteen"
).split(" ");
const TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split(" ");
const SCALES = [[1e9, "billion"], [1e6, "million"], [1e3, "thousand"], [100, "hundred"]];
export const LONGEST = 200; // characters of a sentence

/** A whole number below a trillion in words. */
export function spell(number) {
  if (number < 20) return ONES[number];
  for (const [scale, name] of SCALES) {
    if (number < scale) continue;
    const rest = number % scale;
    const words = `${spell(Math.floor(number / scale))} ${name}`;
    return rest ? `${words} ${spell(rest)}` : words;
  }
  const rest = number % 10;
  return TENS[Math.floor(number / 10)] + (rest ? `-${ONES[rest]}` : "");
}

/** Sentences in the characters of `alphabet`; others are left out. */
export function sentences(text, alphabet) {
  const known = new Set(alphabet);
  const written = text
    .normalize("NFKD")
    .replace(/(\d),(?=\d{3}\b)/g, "$1")
    .replace(/\d+/g, (digits) =>
      digits.length <= 12 ? ` ${spell(Number(digits))} ` : ` ${[...digits].map((d) => ONES[d]).join(" ")} `,
    )
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u2013\u2014]/g, ", ")
    .toLowerCase();
  const clean = [...written.replace(/\s+/g, " ")].filter((character) => known.has(character));
  const pieces = clean.join("").match(/[^.?!]+[.?!]*/g) ?? [];
  return pieces.flatMap(shorter).filter((piece) => /[a-z]/.test(piece));
}

/** A piece, cut at spaces if it is too long, with a sign at its end. */
function shorter(piece) {
  const parts = [];
  let rest = piece.trim().replace(/\s+([.,?!;:])/g, "$1").replace(/ {2,}/g, " ");
  while (rest.length > LONGEST) {
    const cut = rest.lastIndexOf(" ", LONGEST);
    parts.push(`${rest.slice(0, cut > 0 ? cut : LONGEST)},`);
    rest = rest.slice(cut > 0 ? cut + 1 : LONGEST);
  }
  parts.push(/[.?!,;:]$/.test(rest) ? rest : `${rest}.`);
  return parts;
}
