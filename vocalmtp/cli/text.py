"""`vocalmtp text`: generation with text LMs, and the data of draft heads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.cli.console import counter, tell
from vocalmtp.cli.options import SAMPLING, DeviceOptions, option, verb
from vocalmtp.cli.standard_input import read_text
from vocalmtp.errors import InputError, nearest

if TYPE_CHECKING:
    from vocalmtp.decoding.sampling import Sampler
    from vocalmtp.decoding.speculative import Speculative
    from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
    from vocalmtp.decoding.tree_speculative import TreeSpeculative

DRAFTING = "Drafts"
ACCEPT = ("rejection", "seed", "typical")

app = typer.Typer(
    help="Generate text with a causal LM, and prepare data for draft heads.", no_args_is_help=True
)


@dataclass(frozen=True, kw_only=True)
class TextModelOptions(DeviceOptions):
    """A causal LM, a draft head for it, and how tokens are sampled."""

    model: Annotated[
        str, option("--model", "-m", help="Folder or name of a causal LM of Transformers.")
    ]
    chat: Annotated[
        bool, option("--chat", help="Put every text into the chat template, as a user's message.")
    ] = False
    max_tokens: Annotated[int, option(min=1, help="Maximum number of tokens to generate.")] = 128
    temperature: Annotated[float, option(panel=SAMPLING, help="0 is greedy.")] = 1.0
    top_k: Annotated[
        int | None, option(panel=SAMPLING, help="Sample from the k most likely tokens only.")
    ] = None
    top_p: Annotated[
        float | None,
        option(
            panel=SAMPLING,
            help="Sample from the most likely tokens that add up to this probability.",
        ),
    ] = None
    greedy: Annotated[
        bool, option("--greedy", panel=SAMPLING, help="Always take the most likely token.")
    ] = False
    seed: Annotated[
        int,
        option(panel=SAMPLING, min=0, max=2**62, help="Of the first text; text n has seed + n."),
    ] = 0
    draft: Annotated[
        Path | None,
        option(panel=DRAFTING, help="Folder of a draft head.", show_default="the model's, if any"),
    ] = None

    def sampler(self) -> "Sampler":
        """The sampling options as one object. Raises InputError if a value is out of range."""
        from vocalmtp.decoding.sampling import Sampler

        return Sampler(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, greedy=self.greedy
        )

    def writer(self, vocabularies: Sequence[Path] = ()) -> "TextGenerator":
        """Load the model. Raises InputError if a part does not exist or fit."""
        from vocalmtp.decoding.text_generation import TextGenerator

        return TextGenerator.load(
            self.model, self.draft, vocabularies=vocabularies, chat=self.chat, device=self.device
        )


@dataclass(frozen=True, kw_only=True)
class DraftingOptions(TextModelOptions):
    """How many drafts are proposed, and which are accepted."""

    drafts: Annotated[
        int | None,
        option(
            panel=DRAFTING,
            min=0,
            help="Tokens to draft per forward pass; 0 for none.",
            show_default="as trained",
        ),
    ] = None
    draft_tree: Annotated[
        Path | None,
        option(
            panel=DRAFTING,
            help="Draft several candidates per token, by the paths of this file (vocalmtp text "
            "draft-tree).",
        ),
    ] = None
    accept: Annotated[
        str | None,
        option(
            panel=DRAFTING,
            help="rejection keeps the model's distribution and most drafts; seed gives exactly the "
            "text of that seed without drafts; typical accepts more, and changes the text.",
            show_default="rejection; seed with a tree or a confidence",
        ),
    ] = None
    confidence: Annotated[
        float,
        option(
            panel=DRAFTING,
            min=0,
            max=1,
            help="Verify drafts as far as the draft head gives them this probability, all together; "
            "about 0.3 saves time where it is often unsure. For seed.",
            show_default="0: verify all",
        ),
    ] = 0.0
    tolerance: Annotated[
        float | None,
        option(panel=DRAFTING, help="Threshold of typical, a probability.", show_default="0.09"),
    ] = None

    def strategy(self, writer: "TextGenerator") -> "Speculative | TreeSpeculative | None":
        """The decode strategy; None without drafts. Raises InputError if it does not fit."""
        from vocalmtp.decoding.options import Decoding
        from vocalmtp.decoding.speculative import Speculative

        if self.draft_tree is not None:
            return self._tree(writer)
        accept: Any = self.accept or ("seed" if self.confidence else "rejection")
        if accept not in ACCEPT:
            raise InputError(
                f"accept '{accept}': unknown; {nearest(accept, ACCEPT)}", code="unknown_name"
            )
        Decoding(drafts=1, accept=accept, tolerance=self.tolerance)  # raises if they do not fit
        head, drafts = writer.model.draft, self.drafts
        if drafts is None:
            drafts = 0 if head is None else head.offsets[-1]
        if drafts == 0:
            return None
        if head is None:
            raise InputError(
                f"drafts '{drafts}': the model has no draft head; train one (recipe: text_lm with "
                "draft:), name one with --draft, or leave out --drafts",
                code="missing",
            )
        return Speculative(drafts, accept, self.tolerance, confidence=self.confidence)

    def _tree(self, writer: "TextGenerator") -> "TreeSpeculative":
        from vocalmtp.decoding.options import Decoding
        from vocalmtp.decoding.tree import DraftTree
        from vocalmtp.decoding.tree_speculative import TreeSpeculative

        assert self.draft_tree is not None
        if self.confidence:
            raise InputError(
                f"confidence '{self.confidence}': is not for draft trees; leave one of them out",
                code="conflict",
            )
        tree, accept = DraftTree.load(self.draft_tree), self.accept or "seed"
        settings: dict[str, Any] = {"drafts": self.drafts or 0, "accept": accept, "tree": tree}
        settings["tolerance"] = self.tolerance
        model: Any = writer.model  # a text LM has no step sizes to choose from
        Decoding(**settings).model(model)  # raises if they do not go together
        return TreeSpeculative(tree)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(DraftingOptions):
    """Options of `vocalmtp text generate`."""

    text: Annotated[
        str | None, typer.Argument(help="The prompt; - reads it from standard input.")
    ] = None
    input: Annotated[
        Path | None, option(help="A list of prompts: .txt (one per line), .jsonl or .csv.")
    ] = None
    output: Annotated[
        str, option("--output", "-o", help="The file to write; for a list, .jsonl.")
    ] = "-"
    batch_size: Annotated[int, option(min=1, max=4096, help="Texts per batch.")] = 1
    draft_vocab: Annotated[
        list[Path] | None,
        option(
            panel=DRAFTING,
            help="Draft only tokens of this file (vocalmtp text draft-vocab). Of several, the one "
            "that covers most tokens of the prompt is used.",
        ),
    ] = None
    statistics: Annotated[
        Path | None, option(panel=DRAFTING, help="Also write statistics of drafting, as JSON.")
    ] = None


@verb(app, "generate")
def generate(options: GenerateOptions) -> None:
    """Continue a prompt, or every prompt of a list, with a causal LM.

    With a draft head, a forward pass gives several tokens: the same ones if decoding is greedy, and
    otherwise tokens of the same distribution.

    Examples:

    vocalmtp text generate "Once upon a time" --model FOLDER --greedy

    vocalmtp text generate --input prompts.txt --model FOLDER --batch-size 8 -o answers.jsonl

    """
    sampler = options.sampler()
    requests = read_requests(options.text, options.input, options.seed)
    writer = options.writer(options.draft_vocab or ())
    strategy = options.strategy(writer)
    if options.output != "-":
        from vocalmtp.io.atomic import check_file

        check_file(Path(options.output))
    lines: list[str] = [""] * len(requests)
    for number, written in writer.generate(
        requests,
        sampler,
        max_tokens=options.max_tokens,
        batch_size=options.batch_size,
        strategy=strategy,
    ):
        lines[number] = written.text
        if options.input is not None:
            request = requests[number]
            row = {"text": request.text, "seed": request.seed, "answer": written.text}
            lines[number] = json.dumps(row | {"truncated": written.truncated}, ensure_ascii=False)
    _write(options.output, "\n".join(lines))
    _report(strategy, options.statistics)


@dataclass(frozen=True, kw_only=True)
class DistillOptions(DraftingOptions):
    """Options of `vocalmtp text distill`."""

    input: Annotated[
        Path, typer.Argument(help="Prompts: .txt (one per line), .jsonl or .csv (field text).")
    ]
    output: Annotated[Path, option("--output", "-o", help="The folder to write.")]
    speech: Annotated[
        bool, option("--speech", help="The model is a speech LM: write its codes, as shards.")
    ] = False
    voice: Annotated[
        list[str] | None,
        option("--voice", "-v", help="With --speech: the voice; several are used in turn."),
    ] = None
    prompt_tokens: Annotated[
        int | None, option(min=1, help="Use only the first tokens of every text as prompt.")
    ] = None
    batch_size: Annotated[int, option(min=1, max=4096, help="Texts per batch.")] = 8
    resume: Annotated[bool, option("--resume/--overwrite", help="Continue, or start anew.")] = True


@verb(app, "distill")
def distill(options: DistillOptions) -> None:
    """Generate answers to prompts, as training data of the model's own draft head.

    Everything that the answers depend on (sampling, seeds, a hash of the model) is written beside
    them. The same command continues an interrupted run.

    Examples:

    vocalmtp text distill prompts.txt -o answers --model FOLDER --temperature 0.6 --top-k 20

    vocalmtp text distill sentences.txt -o codes --speech --model mini --voice heart

    """
    overwrite = not options.resume
    if options.speech:
        from vocalmtp.training.distill import SpeechDistillJob, distill_speech

        speech_job = SpeechDistillJob(
            input=options.input,
            output=options.output,
            model=options.model,
            voices=tuple(options.voice or ()),
            sampler=options.sampler(),
            seed=options.seed,
        )
        count = distill_speech(
            speech_job,
            batch_size=options.batch_size,
            device=options.device,
            overwrite=overwrite,
        )
        print(f"{options.output}: codes of {count} sentences; use data.shards={options.output}")
        return
    from vocalmtp.training.distill import TextDistillJob, distill_text

    refuse_voice(options.voice)
    writer = options.writer()
    strategy = options.strategy(writer)
    job = TextDistillJob(
        input=options.input,
        output=options.output,
        model=options.model,
        sampler=options.sampler(),
        seed=options.seed,
        max_tokens=options.max_tokens,
        prompt_tokens=options.prompt_tokens,
    )
    size = options.batch_size
    with counter("distill") as show:
        rows, count = distill_text(
            job, writer, batch_size=size, strategy=strategy, overwrite=overwrite, progress=show
        )
    print(f"{rows}: {count} answers; use data.texts=[{rows}]")
    _report(strategy, None)


def read_requests(text: str | None, input: Path | None, seed: int) -> list["GenerationRequest"]:
    """The prompt `text`, or those of a list. Raises InputError for a line without text."""
    from vocalmtp.decoding.text_generation import GenerationRequest

    if text is not None and input is None:
        return [GenerationRequest(text=read_text(text), seed=seed)]
    if text is not None or input is None:
        raise InputError("text: give TEXT, or a list with --input", code="missing")
    from vocalmtp.data.text_lists import read_fields, survey

    survey(input)
    requests: list[GenerationRequest] = []
    for line, fields in read_fields(input):
        if isinstance(fields, str) or not isinstance(fields.get("text"), str):
            problem = fields if isinstance(fields, str) else "has no text; add a field text"
            raise InputError(f"input '{input}' line {line}: {problem}", code="invalid_value")
        requests.append(GenerationRequest(text=fields["text"], seed=seed + len(requests)))
    return requests


def refuse_voice(voice: object) -> None:
    """Raise InputError if a voice is given for a text LM."""
    if voice:
        raise InputError("voice: applies to --speech only; leave it out", code="conflict")


def _write(output: str, text: str) -> None:
    if output == "-":
        print(text)
        return
    from vocalmtp.io.atomic import atomic_path

    with atomic_path(output) as partial:
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _report(strategy: "Speculative | TreeSpeculative | None", file: Path | None) -> None:
    """Write statistics of drafting to `file`, and report them on standard error."""
    if file is not None:
        summary: object = {} if strategy is None else strategy.statistics.summary()
        _write(str(file), json.dumps(summary, indent=2))
    if strategy is None or not strategy.statistics.forwards:
        return
    found = strategy.statistics.summary()
    accepted = ", ".join(f"{share:.0%}" for share in found["acceptance"])
    tell(
        f"{found['tokens_per_forward']:.2f} tokens per forward pass; drafts accepted, given that "
        f"those before were: {accepted}; {found['wasted']:.0%} of the drafts wasted"
    )
