// The conversation as text: one bubble a turn, with the word that is playing highlighted.

export class Transcript {
  constructor(log) {
    this.log = log;
    this.answers = new Map(); // turn -> { bubble, text, words, word, interrupted }
    this.users = new Map(); // turn -> bubble
    this.thoughts = new Map(); // turn -> bubble
  }

  addBubble(kind, label) {
    const bubble = document.createElement("div");
    bubble.className = `talk-bubble talk-${kind}`;
    bubble.setAttribute("aria-label", label);
    this.log.append(bubble);
    this.scroll();
    return bubble;
  }

  scroll() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  setUserText(turn, text, final) {
    if (!this.users.has(turn)) this.users.set(turn, this.addBubble("user", "You"));
    const bubble = this.users.get(turn);
    bubble.textContent = text || (final ? "(not understood)" : "\u2026");
    bubble.classList.toggle("talk-partial", !final);
    this.scroll();
  }

  // Removes partial transcripts of turns that were noise.
  removePartial() {
    for (const [turn, bubble] of this.users) {
      if (!bubble.classList.contains("talk-partial")) continue;
      bubble.remove();
      this.users.delete(turn);
    }
  }

  answer(turn) {
    if (!this.answers.has(turn)) {
      const bubble = this.addBubble("answer", "Answer");
      this.answers.set(turn, { bubble, text: "", words: [] });
    }
    return this.answers.get(turn);
  }

  addThought(turn, delta) {
    if (!this.thoughts.has(turn)) this.thoughts.set(turn, this.addBubble("thoughts", "Thoughts"));
    this.thoughts.get(turn).textContent += delta;
    this.scroll();
  }

  addAnswerText(turn, delta) {
    const answer = this.answer(turn);
    answer.text += delta;
    this.highlight(answer, answer.word);
    this.scroll();
  }

  addWords(turn, words) {
    this.answer(turn).words.push(...words);
  }

  // Highlights the word at `seconds` of the answer's audio.
  setProgress(turn, seconds) {
    const answer = this.answers.get(turn);
    if (!answer || answer.interrupted) return;
    const word = answer.words.find((w) => w.start <= seconds && seconds < w.end);
    if (word !== answer.word) this.highlight(answer, word);
  }

  highlight(answer, word) {
    answer.word = word;
    const characters = Array.from(answer.text); // spans count code points, as in Python
    const [first, end] = word ? word.span : [characters.length, characters.length];
    answer.bubble.replaceChildren(characters.slice(0, first).join(""));
    if (!word) return;
    const mark = document.createElement("mark");
    mark.textContent = characters.slice(first, end).join("");
    answer.bubble.append(mark, characters.slice(end).join(""));
  }

  endAnswer(turn) {
    const answer = this.answers.get(turn);
    if (answer) this.highlight(answer, null);
  }

  // Strikes out the text that was not played.
  interruptAnswer(turn, playedText) {
    const answer = this.answers.get(turn);
    if (!answer) return;
    answer.interrupted = true;
    const rest = document.createElement("s");
    const place = answer.text.indexOf(playedText) + playedText.length;
    rest.textContent = answer.text.slice(place);
    answer.bubble.replaceChildren(answer.text.slice(0, place), rest);
  }

  addNote(text) {
    this.addBubble("note", "Note").textContent = text;
    this.scroll();
  }

  // Turns of a new conversation count from 1 again.
  restart() {
    this.answers.clear();
    this.users.clear();
    this.thoughts.clear();
  }
}
