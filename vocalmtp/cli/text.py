"""`vocalmtp generate`, `vocalmtp draft-vocab` and `vocalmtp distill-data`: text LMs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.errors import InputError, nearest

if TYPE_CHECKING:
    from vocalmtp.decoding.sampling import Sampler
    from vocalmtp.decoding.speculative import Speculative
    from vocalmtp.textlm.write import Ask, TextWriter

ACCEPT = ("rejection", "seed")
SAMPLING = "How tokens are drawn"
DRAFTING = "Drafts"


def _option(panel: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, **settings)


Model = Annotated[
    str, typer.Option("--model", "-m", help="A causal LM of Transformers: its folder, or name.")
]
Chat = Annotated[
    bool, typer.Option("--chat", help="TEXT is a user's message, put into the chat template.")
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="The most tokens to write.")]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, max=4096, help="Texts written together.")
]
Device = Annotated[str, typer.Option(help="cpu, or cuda.")]
Seed = Annotated[
    int, _option(SAMPLING, min=0, max=2**62, help="Of the first text; the next ones count on.")
]
Temperature = Annotated[float, _option(SAMPLING, help="0 is greedy.")]
TopK = Annotated[int | None, _option(SAMPLING, help="Choose among the k likeliest tokens only.")]
TopP = Annotated[
    float | None,
    _option(SAMPLING, help="Choose among the likeliest tokens that make up this probability."),
]
Greedy = Annotated[bool, _option(SAMPLING, "--greedy", help="Always take the likeliest token.")]
Draft = Annotated[
    Path | None,
    _option(
        DRAFTING,
        help="The folder of another draft head.",
        show_default="the model's, if it has any",
    ),
]
Drafts = Annotated[
    int | None,
    _option(
        DRAFTING,
        min=0,
        help="Tokens to draft in every pass; 0 for none.",
        show_default="as trained",
    ),
]
Accept = Annotated[
    str,
    _option(
        DRAFTING,
        help="rejection: as the model's distribution has it, and most drafts are kept. seed: what "
        "the seed says without drafts, to the letter.",
    ),
]
DraftVocab = Annotated[
    list[Path] | None,
    _option(
        DRAFTING,
        "--draft-vocab",
        help="Draft only tokens of this list (vocalmtp draft-vocab). Of several, one for each "
        "language, the one that knows most of the prompt's tokens is taken.",
    ),
]


def generate(
    text: Annotated[
        str | None, typer.Argument(help="The text to go on with; - reads it from standard input.")
    ] = None,
    model: Model = "",
    input: Annotated[
        Path | None,
        typer.Option(help="A list for TEXT: .txt (one a line), .jsonl or .csv (field text)."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The file to write; of a list, .jsonl.")
    ] = "-",
    chat: Chat = False,
    max_tokens: MaxTokens = 128,
    batch_size: BatchSize = 1,
    device: Device = "cpu",
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    greedy: Greedy = False,
    seed: Seed = 0,
    draft: Draft = None,
    drafts: Drafts = None,
    accept: Accept = "rejection",
    draft_vocab: DraftVocab = None,
    statistics: Annotated[
        Path | None, _option(DRAFTING, help="Also write what drafting brought to this .json file.")
    ] = None,
) -> None:
    """Go on with TEXT, or with every text of a list, by any causal LM of Transformers.

    With a draft head, several tokens come from one pass of the model: the same ones, if they are
    drawn greedily, and else of the same distribution.

    Examples:

    vocalmtp generate "Once upon a time" --model FOLDER --greedy

    vocalmtp generate --input prompts.txt --model FOLDER --drafts 3 --batch-size 8 -o answers.jsonl
    """
    from vocalmtp.textlm.write import Ask

    sampler = _sampler(temperature, top_k, top_p, greedy)
    asks = _asks(text, input, seed, Ask)
    writer = _writer(model, draft, draft_vocab, chat, device)
    strategy = _strategy(writer, drafts, accept)
    if output != "-":
        from vocalmtp.writing import check_file

        check_file(Path(output))
    made = writer.write(
        asks, sampler, max_tokens=max_tokens, batch_size=batch_size, strategy=strategy
    )
    lines: list[str] = [""] * len(asks)
    for number, written in made:
        lines[number] = written.text
        if input is not None:
            row = {"text": asks[number].text, "seed": asks[number].seed, "answer": written.text}
            lines[number] = json.dumps(row | {"truncated": written.truncated}, ensure_ascii=False)
    _write(output, "\n".join(lines))
    _tell(strategy, statistics)


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
    from vocalmtp.model.speech_lm import load_text_tokenizer
    from vocalmtp.textlm.rows import read_pieces
    from vocalmtp.textlm.vocabulary import DraftVocabulary

    tokenizer = load_text_tokenizer(_named(model))
    pieces = read_pieces(texts, tokenizer, ())
    learned = (ids for text in pieces for ids, learn in text if learn)
    made = DraftVocabulary.count(name or output.stem, tokenizer, learned, size)
    made.save(output)
    typer.echo(f"{output}: {len(made.ids)} tokens, which are {made.coverage:.1%} of the texts")


def distill_data(
    input: Annotated[
        Path, typer.Argument(help="Prompts: .txt (one a line), .jsonl or .csv (field text).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    model: Model = "",
    speech: Annotated[
        bool, typer.Option("--speech", help="MODEL speaks: keep its codes, as shards to train on.")
    ] = False,
    voice: Annotated[
        list[str] | None,
        typer.Option("--voice", "-v", help="With --speech: who speaks, in turn if several."),
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Ask only the first so many tokens of every text.")
    ] = None,
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
    drafts: Drafts = None,
    accept: Accept = "rejection",
    resume: Annotated[
        bool, typer.Option("--resume/--overwrite", help="Go on, or start anew.")
    ] = True,
) -> None:
    """Let a model answer prompts, to train its draft head on what it says itself.

    What the answers depend on (sampling, seeds, the model's hash) is written beside them. Stopped
    and started again, it goes on from there.

    Examples:

    vocalmtp distill-data prompts.txt -o answers --model FOLDER --temperature 0.6 --top-k 20

    vocalmtp distill-data sentences.txt -o codes --speech --model mini --voice slt
    """
    sampler = _sampler(temperature, top_k, top_p, greedy)
    if speech:
        from vocalmtp.data.distill import SpeechJob, distill_speech

        job = SpeechJob(
            input=input,
            output=output,
            model=_named(model),
            voices=tuple(voice or ()),
            sampler=sampler,
            seed=seed,
        )
        count = distill_speech(job, batch_size=batch_size, overwrite=not resume)
        typer.echo(f"{output}: codes of {count} sentences; train on them with data.shards={output}")
        return
    from vocalmtp.textlm.distill import DistillJob, distill

    if voice:
        raise InputError("voice: is for --speech; leave it out")
    writer = _writer(model, draft, None, chat, device)
    strategy = _strategy(writer, drafts, accept)
    job = DistillJob(
        input=input,
        output=output,
        model=model,
        sampler=sampler,
        seed=seed,
        max_tokens=max_tokens,
        prompt_tokens=prompt_tokens,
    )
    rows, count = distill(
        job, writer, batch_size=batch_size, strategy=strategy, overwrite=not resume
    )
    typer.echo(f"{rows}: {count} answers; train on them with data.texts=[{rows}]")
    _tell(strategy, None)


def _sampler(temperature: float, top_k: int | None, top_p: float | None, greedy: bool) -> "Sampler":
    from vocalmtp.decoding.sampling import Sampler

    return Sampler(temperature=temperature, top_k=top_k, top_p=top_p, greedy=greedy)


def _asks(text: str | None, input: Path | None, seed: int, ask: type["Ask"]) -> list["Ask"]:
    if (text is None) == (input is None):
        raise InputError("text: give TEXT, or a list with --input")
    if text is not None:
        return [ask(text=sys.stdin.read() if text == "-" else text, seed=seed)]
    from vocalmtp.batch.lists import read_fields, survey

    survey(input)
    asks = []
    for line, fields in read_fields(input):
        if isinstance(fields, str) or not isinstance(fields.get("text"), str):
            problem = fields if isinstance(fields, str) else "has no text; add a field text"
            raise InputError(f"input '{input}' line {line}: {problem}")
        asks.append(ask(text=fields["text"], seed=seed + len(asks)))
    return asks


def _named(model: str) -> str:
    if not model:
        raise InputError("model: is missing; give a model's folder with --model")
    return model


def _writer(
    model: str, draft: Path | None, vocabularies: list[Path] | None, chat: bool, device: str
) -> "TextWriter":
    import torch

    from vocalmtp.textlm.write import TextWriter

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{device}': is not there; choose cpu or cuda") from error
    return TextWriter.load(
        _named(model), draft, vocabularies=vocabularies or (), chat=chat, device=device
    )


def _strategy(writer: "TextWriter", drafts: int | None, accept: str) -> "Speculative | None":
    """Verified drafts, as many as the draft head was trained for if `drafts` is None."""
    from vocalmtp.decoding.speculative import Speculative

    if accept not in ACCEPT:
        raise InputError(f"accept '{accept}': unknown; {nearest(accept, ACCEPT)}")
    head = writer.model.draft
    if drafts is None:
        drafts = 0 if head is None else head.offsets[-1]
    if drafts == 0:
        return None
    if head is None:
        raise InputError(
            f"drafts '{drafts}': the model has no draft head; train one (recipe: text_lm with "
            "draft:), name one with --draft, or leave --drafts out"
        )
    return Speculative(drafts, accept)


def _write(output: str, text: str) -> None:
    if output == "-":
        typer.echo(text)
        return
    from vocalmtp.writing import atomic_path

    with atomic_path(output) as partial:
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _tell(strategy: "Speculative | None", file: Path | None) -> None:
    """What drafting brought, on standard error and into `file`."""
    found = {} if strategy is None else strategy.statistics.summary()
    if file is not None:
        _write(str(file), json.dumps(found, indent=2))
    if strategy is None or not strategy.statistics.forwards:
        return
    kept = ", ".join(f"{share:.0%}" for share in found["acceptance"])
    typer.echo(
        f"{found['tokens_per_forward']:.2f} tokens a forward pass; drafts kept, of those whose "
        f"predecessors were: {kept}; {found['wasted']:.0%} of the drafts wasted",
        err=True,
    )
