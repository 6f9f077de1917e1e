"""Random lists of sentences."""

import random
from pathlib import Path

SUBJECTS = "the river,a small boat,my neighbour,the old clock,every teacher".split(",")
VERBS = "waits,turns slowly,sings,comes home,falls asleep".split(",")
PLACES = "in the harbour,by the window,after the rain,under the bridge,at noon".split(",")


def write_list(path: Path, lines: int, generator: random.Random) -> None:
    """Write a .txt list of sentences of 4 to 25 words."""
    with path.open("w") as file:
        for _ in range(lines):
            parts = [
                " ".join(generator.choice(words) for words in (SUBJECTS, VERBS, PLACES))
                for _ in range(generator.choice((1, 1, 1, 2, 2, 3)))
            ]
            file.write(f"{' and '.join(parts).capitalize()}.\n")
