// The conversation in writing: a bubble a turn, the word that sounds now marked.

export class Transcript {
  constructor(log) {
    this.log = log;
    this.answers = new Map(); // turn -> { bubble, text, words }
    this.users = new Map(); // turn -> bubble
  }

  bubble(kind, name) {
    const bubble = document.createElement("div");
    bubble.className = `talk-bubble talk-${kind}`;
    bubble.setAttribute("aria-label", name);
    this.log.append(bubble);
    this.scroll();
    return bubble;
  }

  scroll() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  user(turn, text, final) {
    if (!this.users.has(turn)) this.users.set(turn, this.bubble("user", "You"));
    const bubble = this.users.get(turn);
    bubble.textContent = text || (final ? "(not understood)" : "\u2026");
    bubble.classList.toggle("talk-partial", !final);
    this.scroll();
  }

  // What was a noise, and no turn.
  forget() {
    for (const [turn, bubble] of this.users) {
      if (!bubble.classList.contains("talk-partial")) continue;
      bubble.remove();
      this.users.delete(turn);
    }
  }

  answer(turn) {
    if (!this.answers.has(turn)) {
      const bubble = this.bubble("answer", "Answer");
      this.answers.set(turn, { bubble, text: "", words: [] });
    }
    return this.answers.get(turn);
  }

  text(turn, delta) {
    const answer = this.answer(turn);
    answer.text += delta;
    this.show(answer, answer.word);
    this.scroll();
  }

  words(turn, words) {
    this.answer(turn).words.push(...words);
  }

  // Marks the word that sounds `seconds` into the answer.
  sounding(turn, seconds) {
    const answer = this.answers.get(turn);
    if (!answer || answer.over) return;
    const word = answer.words.find((w) => w.start <= seconds && seconds < w.end);
    if (word !== answer.word) this.show(answer, word);
  }

  show(answer, word) {
    answer.word = word;
    const letters = Array.from(answer.text); // places are those of characters, as Python has them
    const [first, end] = word ? word.place : [letters.length, letters.length];
    answer.bubble.replaceChildren(letters.slice(0, first).join(""));
    if (!word) return;
    const mark = document.createElement("mark");
    mark.textContent = letters.slice(first, end).join("");
    answer.bubble.append(mark, letters.slice(end).join(""));
  }

  finished(turn) {
    const answer = this.answers.get(turn);
    if (answer) this.show(answer, null);
  }

  // What was not heard any more is crossed out.
  interrupted(turn, heard) {
    const answer = this.answers.get(turn);
    if (!answer) return;
    answer.over = true;
    const rest = document.createElement("s");
    const place = answer.text.indexOf(heard) + heard.length;
    rest.textContent = answer.text.slice(place);
    answer.bubble.replaceChildren(answer.text.slice(0, place), rest);
  }

  note(text) {
    this.bubble("note", "Note").textContent = text;
    this.scroll();
  }

  // A new conversation counts its turns from 1 again.
  restart() {
    this.answers.clear();
    this.users.clear();
  }
}
