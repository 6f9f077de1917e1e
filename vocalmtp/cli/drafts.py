"""`vocalmtp text draft-vocab` and `draft-tree`: which tokens draft heads propose."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.cli.options import option, verb
from vocalmtp.cli.text import TextModelOptions, app, read_requests, refuse_voice

if TYPE_CHECKING:
    from vocalmtp.decoding.generate import Prompt
    from vocalmtp.models.speech_lm import SpeechLM


@dataclass(frozen=True, kw_only=True)
class DraftVocabOptions:
    """Options of `vocalmtp text draft-vocab`."""

    texts: Annotated[
        list[Path], typer.Argument(help="Texts to count: .txt, .jsonl or .csv, or distilled data.")
    ]
    output: Annotated[Path, option("--output", "-o", help="The .json file to write.")]
    model: Annotated[
        str, option("--model", "-m", help="Folder or name of a causal LM of Transformers.")
    ]
    size: Annotated[int, option(min=1, help="Number of tokens to keep.")] = 8192
    name: Annotated[
        str | None, option(help="Such as the language.", show_default="the output's name")
    ] = None


@verb(app, "draft-vocab")
def draft_vocab(options: DraftVocabOptions) -> None:
    """Select the most frequent tokens of TEXTS as the output space of drafts.

    Drafts are verified over the full vocabulary, so the generated text does not change. Use one
    file per language, with texts as the model writes them.

    Example:

    vocalmtp text draft-vocab answers/manifest.jsonl -o en.json --model FOLDER --size 8192

    """
    from vocalmtp.data.text_rows import DraftVocabulary, read_pieces
    from vocalmtp.models.checkpoint import load_text_tokenizer

    tokenizer = load_text_tokenizer(options.model)
    pieces = read_pieces(options.texts, tokenizer, ())
    targets = (ids for text in pieces for ids, is_target in text if is_target)
    name = options.name or options.output.stem
    vocabulary = DraftVocabulary.count(name, tokenizer, targets, options.size)
    vocabulary.save(options.output)
    share = f"{vocabulary.coverage:.1%}"
    print(f"{options.output}: {len(vocabulary.ids)} tokens, which cover {share} of the texts")


@dataclass(frozen=True, kw_only=True)
class DraftTreeOptions(TextModelOptions):
    """Options of `vocalmtp text draft-tree`."""

    texts: Annotated[Path, typer.Argument(help="Prompts: .txt (one per line), .jsonl or .csv.")]
    output: Annotated[Path, option("--output", "-o", help="The .json file to write.")]
    nodes: Annotated[int, option(min=1, max=64, help="Candidates per forward pass.")] = 16
    depth: Annotated[int | None, option(min=1, help="Steps ahead.", show_default="as trained")] = (
        None
    )
    ranks: Annotated[int, option(min=1, help="Candidates per step to consider.")] = 10
    speech: Annotated[
        bool, option("--speech", help="The model is a speech LM of one token per step (flat).")
    ] = False
    voice: Annotated[str | None, option("--voice", "-v", help="With --speech: the voice.")] = None
    prompt_tokens: Annotated[
        int | None, option(min=1, help="Use only the first tokens of every text as prompt.")
    ] = None
    batch_size: Annotated[int, option(min=1, max=4096, help="Texts per batch.")] = 8


@verb(app, "draft-tree")
def draft_tree(options: DraftTreeOptions) -> None:
    """Select the candidates that --draft-tree drafts.

    The model continues every text, and the candidates of its draft head, by rank and distance, are
    compared with what it generates. The tree with most accepted tokens is written. Use the same
    sampling options here as later.

    Examples:

    vocalmtp text draft-tree valid.txt -o tree.json --model FOLDER --prompt-tokens 8 --greedy

    vocalmtp text generate "Once upon a time" --model FOLDER --draft-tree tree.json --greedy

    """
    from vocalmtp.decoding.draft_state import check_drafts
    from vocalmtp.decoding.tree import choose_paths
    from vocalmtp.decoding.tree_calibration import measure_ranks
    from vocalmtp.io.atomic import check_file

    check_file(options.output)
    model, prompts = _speech_prompts(options) if options.speech else _text_prompts(options)
    check_drafts(model, options.depth or 1)
    assert model.draft is not None, "checked above"
    depth = options.depth or model.draft.offsets[-1]
    acceptance = measure_ranks(model, prompts, depth, options.ranks, options.batch_size)
    tree, expected = choose_paths(acceptance, options.nodes)
    tree.save(options.output, acceptance, expected)
    print(
        f"{options.output}: {len(tree.paths)} candidates up to {tree.depth} steps ahead; "
        f"{expected:.2f} steps per forward pass expected"
    )


def _text_prompts(options: DraftTreeOptions) -> "tuple[Any, list[Prompt]]":
    """A text LM, and the prompts of a list."""
    refuse_voice(options.voice)
    sampler, writer = options.sampler(), options.writer()
    prompts = []
    for request in read_requests(None, options.texts, options.seed):
        ids = writer.encode(request)[: options.prompt_tokens]
        prompts.append(writer.prompt(ids, request.seed, sampler, options.max_tokens))
    return writer.model, prompts


def _speech_prompts(options: DraftTreeOptions) -> "tuple[SpeechLM, list[Prompt]]":
    """A speech LM, and the prompts of the sentences of a list."""
    from vocalmtp.loading import load
    from vocalmtp.tts import SynthesisRequest

    tts, sampling = load(options.model, device=options.device), asdict(options.sampler())
    prompts = []
    for each in read_requests(None, options.texts, options.seed):
        request = SynthesisRequest(
            text=each.text, voice=options.voice, seed=each.seed, sampling=sampling
        )
        prompts += [tts.prompt(sentence) for sentence in tts.plan(request)]
    return tts.model, prompts


@dataclass(frozen=True, kw_only=True)
class ExportMTPOptions:
    """Options of `vocalmtp text export-mtp`."""

    model: Annotated[str, typer.Argument(help="Folder or name of a Llama.")]
    output: Annotated[Path, option("--output", "-o", help="The folder to write.")]
    draft: Annotated[
        Path | None,
        option(help="Folder of a recursive draft head.", show_default="the model's"),
    ] = None
    steps: Annotated[
        int | None, option(min=1, help="Tokens to draft per pass.", show_default="as trained")
    ] = None


@verb(app, "export-mtp")
def export_mtp(options: ExportMTPOptions) -> None:
    """Write a Llama and its draft head for Transformers: `generate(use_mtp=True)`.

    Example:

    vocalmtp text export-mtp FOLDER -o native

    """
    from vocalmtp.training.native_mtp import export_native_mtp

    print(export_native_mtp(options.model, options.output, options.draft, options.steps))
