"""The catalogue as a Markdown page: `python -m vocalmtp.tokenizers.catalogue` writes it anew."""

from pathlib import Path

from vocalmtp.tokenizers.cards import BUNDLED, CARDS, TokenizerCard, list_cards

README = CARDS / "README.md"

INTRODUCTION = """\
# Speech tokenizers

One card `NAME.yaml` for each speech tokenizer that vocalmtp can load: kind, rates, streams of codes
and which of them a speech LM should use, look-ahead, licences, where the weights are published, the
paper. `vocalmtp tokenizers show NAME` prints a card with the command that fetches its weights;
weights are never downloaded by themselves.

```python
from vocalmtp.tokenizers import load_tokenizer

tokenizer = load_tokenizer("mini")  # or "NAME=FOLDER" with the published weights in FOLDER
codes = tokenizer.encode(wav)  # wav [batch, samples] -> codes.codes [batch, streams, frames]
wav = tokenizer.decode(codes.codes, codes.speaker)
```

[CONTRIBUTING.md](../CONTRIBUTING.md) tells how to add one.
"""

NOTES = """\
- kind: in a *decoupled* tokenizer content, prosody and timbre are in separate streams and a vector;
  in a *semi-decoupled* one the first stream (or all of one codebook) is semantic and the voice is in
  the others; in a *coupled* one every stream mixes all of them.
- kHz: sample rate of decoded audio, after that of the audio to encode if it is another. Frames:
  codec frames per second. Streams: number x codebook size.
- streaming: look-ahead of the decoder; "no": it decodes whole utterances; "no audio": an encoder
  alone.
- weights seen: whether the published weights themselves were run with this code. Where they were
  not, keys, shapes and outputs equal those of the published code with random weights.

This page is generated from the cards: `python -m vocalmtp.tokenizers.catalogue`.
"""

HEADER = (
    "name",
    "kind",
    "kHz",
    "frames",
    "streams",
    "bit/s",
    "streaming",
    "code licence",
    "weights licence",
    "weights",
    "weights seen",
)


def page() -> str:
    """Return the catalogue as Markdown."""
    lines = [HEADER, ("---",) * len(HEADER), *(cells(card) for card in list_cards().values())]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{INTRODUCTION}\n{table}\n\n{NOTES}"


def cells(card: TokenizerCard) -> tuple[str, ...]:
    """Return the row of a card, in the order of `HEADER`."""
    return (
        f"[{card.name}]({card.name}.yaml)",
        card.kind.replace("_", "-"),
        rates_text(card),
        f"{card.frame_rate:.4g}",
        streams_text(card),
        f"{card.spec().bits_per_second:.0f}",
        streaming_text(card),
        card.licence.code,
        licence_text(card),
        weights_text(card),
        "yes" if card.weights_seen else "no",
    )


def rates_text(card: TokenizerCard) -> str:
    """Return the sample rates in kHz: "24", or "16 → 24" if the encoder has another."""
    decoder = f"{card.sample_rate / 1000:g}"
    if card.encoder_sample_rate is None:
        return decoder
    return f"{card.encoder_sample_rate / 1000:g} → {decoder}"


def streams_text(card: TokenizerCard) -> str:
    """Return the streams by size: "8 x 1024", or "4096 + 3 x 1024"."""
    sizes: dict[int, int] = {}
    for stream in card.stream_specs():
        sizes[stream.size] = sizes.get(stream.size, 0) + 1
    return " + ".join(f"{n} x {size}" if n > 1 else str(size) for size, n in sizes.items())


def streaming_text(card: TokenizerCard) -> str:
    """Return the look-ahead of the decoder, "no" if it cannot stream, "no audio" if none."""
    if not card.decodes:
        return "no audio"
    return "no" if card.lookahead is None else f"{card.lookahead * 1000:.0f} ms"


def licence_text(card: TokenizerCard) -> str:
    """Return the licence of the weights, and whether it excludes commercial use."""
    return card.licence.weights + (" (not commercial)" if card.spec().noncommercial else "")


def weights_text(card: TokenizerCard) -> str:
    """Return a link to the published weights, or where they come from."""
    if card.weights == BUNDLED:
        return "in this package"
    if card.type == "neural":
        return f"[{card.weights}](../{card.weights})"
    return f"[{card.weights}](https://huggingface.co/{card.weights})"


def write_page(path: Path = README) -> None:
    """Write the page."""
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_page()
