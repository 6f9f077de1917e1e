"""`vocalmtp draft-vocab` and `vocalmtp draft-tree`: which tokens to draft."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.text_options import (
    BatchSize,
    Chat,
    Device,
    Draft,
    Greedy,
    MaxTokens,
    Model,
    PromptTokens,
    Seed,
    Temperature,
    TopK,
    TopP,
    asks_of,
    named,
    sampler_of,
    writer_of,
)
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from vocalmtp.decoding.generate import Prompt
    from vocalmtp.decoding.sampling import Sampler
    from vocalmtp.models.speech_lm import SpeechLM


def draft_vocab(
    texts: Annotated[
        list[Path], typer.Argument(help="What to count: .txt, .jsonl or .csv, or distilled data.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, .json.")],
    model: Model = "",
    size: Annotated[int, typer.Option(min=1, help="How many tokens to keep.")] = 8192,
    name: Annotated[
        str | None, typer.Option(help="Such as the language.", show_default="the output's name")
    ] = None,
) -> None:
    """Count which tokens are frequent in TEXTS, for drafts to be made of them alone.

    What is drafted is verified over the whole vocabulary, so the text does not change. Count one
    list for each language, in texts as the model writes them.

    Example:

    vocalmtp draft-vocab answers/manifest.jsonl -o en.json --model FOLDER --size 8192
    """
    from vocalmtp.data.draft_vocabulary import DraftVocabulary
    from vocalmtp.data.text_rows import read_pieces
    from vocalmtp.models.speech_lm import load_text_tokenizer

    tokenizer = load_text_tokenizer(named(model))
    pieces = read_pieces(texts, tokenizer, ())
    learned = (ids for text in pieces for ids, learn in text if learn)
    made = DraftVocabulary.count(name or output.stem, tokenizer, learned, size)
    made.save(output)
    typer.echo(f"{output}: {len(made.ids)} tokens, which are {made.coverage:.1%} of the texts")


def draft_tree(
    texts: Annotated[
        Path, typer.Argument(help="What to go on with: .txt (one a line), .jsonl or .csv.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, .json.")],
    model: Model = "",
    nodes: Annotated[
        int, typer.Option(min=1, max=64, help="Candidates to draft in every pass.")
    ] = 16,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Steps ahead.", show_default="as trained")
    ] = None,
    ranks: Annotated[int, typer.Option(min=1, help="Candidates of a step to try.")] = 10,
    speech: Annotated[
        bool, typer.Option("--speech", help="MODEL speaks, one token a step (a flat layout).")
    ] = False,
    voice: Annotated[
        str | None, typer.Option("--voice", "-v", help="With --speech: whose.")
    ] = None,
    prompt_tokens: PromptTokens = None,
    chat: Chat = False,
    max_tokens: MaxTokens = 128,
    batch_size: BatchSize = 8,
    device: Device = "cpu",
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    greedy: Greedy = False,
    seed: Seed = 0,
    draft: Draft = None,
) -> None:
    """Choose which candidates of the next tokens to draft, for --draft-tree.

    The model goes on from every text, and it is counted which candidates of its draft head, of
    which rank and how far ahead, are what it says. The tree of so many nodes that keeps most of
    them is written. Draw the tokens here as you will later.

    Examples:

    vocalmtp draft-tree valid.txt -o tree.json --model FOLDER --nodes 16 --prompt-tokens 8 --greedy

    vocalmtp generate "Once upon a time" --model FOLDER --draft-tree tree.json --greedy
    """
    from vocalmtp.decoding.draft_state import check_drafts
    from vocalmtp.decoding.tree import choose_paths
    from vocalmtp.decoding.tree_calibration import measure_ranks
    from vocalmtp.io.atomic import check_file

    check_file(output)
    sampler = sampler_of(temperature, top_k, top_p, greedy)
    if speech:
        own, prompts = _spoken(texts, named(model), voice, sampler, seed)
    elif voice is not None:
        raise InputError("voice: is for --speech; leave it out", code="conflict")
    else:
        writer = writer_of(model, draft, None, chat, device)
        asked = [(writer.read(ask)[:prompt_tokens], ask.seed) for ask in asks_of(None, texts, seed)]
        own, prompts = writer.model, [writer.prompt(*one, sampler, max_tokens) for one in asked]
    check_drafts(own, depth or 1)
    depth = depth or own.draft.offsets[-1]
    acceptance = measure_ranks(own, prompts, depth, ranks, batch_size)
    tree, expected = choose_paths(acceptance, nodes)
    tree.save(output, acceptance, expected)
    typer.echo(
        f"{output}: {len(tree.paths)} candidates up to {tree.depth} steps ahead; {expected:.2f} "
        "steps a forward pass are expected"
    )


def _spoken(
    texts: Path, model: str, voice: str | None, sampler: "Sampler", seed: int
) -> "tuple[SpeechLM, list[Prompt]]":
    """A speech LM, and the prompts of the sentences of a list."""
    from dataclasses import asdict

    from vocalmtp.tts import SynthesisRequest, load

    tts = load(model)
    asks = asks_of(None, texts, seed)
    drawn = asdict(sampler)
    requests = (
        SynthesisRequest(text=ask.text, voice=voice, seed=ask.seed, sampling=drawn) for ask in asks
    )
    return tts.model, [tts.prompt(row) for request in requests for row in tts.plan(request)]
