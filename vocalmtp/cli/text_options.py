"""The options of the verbs of text LMs, and what they mean."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from vocalmtp.decoding.sampling import Sampler
    from vocalmtp.decoding.text_generation import GenerationRequest, TextWriter

SAMPLING = "How tokens are drawn"
DRAFTING = "Drafts"


def option(panel: str, *names: str, **settings: Any) -> Any:
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
PromptTokens = Annotated[
    int | None,
    typer.Option("--prompt-tokens", min=1, help="Give only the first so many of a text."),
]
Device = Annotated[str, typer.Option(help="cpu, or cuda.")]
Seed = Annotated[
    int, option(SAMPLING, min=0, max=2**62, help="Of the first text; the next ones count on.")
]
Temperature = Annotated[float, option(SAMPLING, help="0 is greedy.")]
TopK = Annotated[int | None, option(SAMPLING, help="Choose among the k likeliest tokens only.")]
TopP = Annotated[
    float | None,
    option(SAMPLING, help="Choose among the likeliest tokens that make up this probability."),
]
Greedy = Annotated[bool, option(SAMPLING, "--greedy", help="Always take the likeliest token.")]
Draft = Annotated[
    Path | None,
    option(
        DRAFTING,
        help="The folder of another draft head.",
        show_default="the model's, if it has any",
    ),
]
Drafts = Annotated[
    int | None,
    option(
        DRAFTING,
        min=0,
        help="Tokens to draft in every pass; 0 for none.",
        show_default="as trained",
    ),
]
Accept = Annotated[
    str | None,
    option(
        DRAFTING,
        help="rejection: as the model's distribution has it, and most drafts are kept. seed: what "
        "the seed says without drafts, to the letter.",
        show_default="rejection; seed, of a tree",
    ),
]
DraftTree = Annotated[
    Path | None,
    option(
        DRAFTING,
        "--draft-tree",
        help="Draft several candidates of every token, by the paths in this file (vocalmtp "
        "draft-tree).",
    ),
]
DraftVocab = Annotated[
    list[Path] | None,
    option(
        DRAFTING,
        "--draft-vocab",
        help="Draft only tokens of this list (vocalmtp draft-vocab). Of several, one for each "
        "language, the one that knows most of the prompt's tokens is taken.",
    ),
]


def sampler_of(
    temperature: float, top_k: int | None, top_p: float | None, greedy: bool
) -> "Sampler":
    from vocalmtp.decoding.sampling import Sampler

    return Sampler(temperature=temperature, top_k=top_k, top_p=top_p, greedy=greedy)


def asks_of(text: str | None, input: Path | None, seed: int) -> list["GenerationRequest"]:
    from vocalmtp.decoding.text_generation import GenerationRequest

    if (text is None) == (input is None):
        raise InputError("text: give TEXT, or a list with --input", code="missing")
    if text is not None:
        return [GenerationRequest(text=sys.stdin.read() if text == "-" else text, seed=seed)]
    from vocalmtp.data.text_lists import read_fields, survey

    survey(input)
    asks: list[GenerationRequest] = []
    for line, fields in read_fields(input):
        if isinstance(fields, str) or not isinstance(fields.get("text"), str):
            problem = fields if isinstance(fields, str) else "has no text; add a field text"
            raise InputError(f"input '{input}' line {line}: {problem}", code="invalid_value")
        asks.append(GenerationRequest(text=fields["text"], seed=seed + len(asks)))
    return asks


def named(model: str) -> str:
    if not model:
        raise InputError("model: is missing; give a model's folder with --model", code="missing")
    return model


def writer_of(
    model: str, draft: Path | None, vocabularies: list[Path] | None, chat: bool, device: str
) -> "TextWriter":
    from vocalmtp.decoding.text_generation import TextWriter

    return TextWriter.load(
        named(model), draft, vocabularies=vocabularies or (), chat=chat, device=device
    )
