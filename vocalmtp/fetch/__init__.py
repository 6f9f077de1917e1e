"""Models of other publishers by name: a catalogue of cards, and what `vocalmtp get` does with them."""
