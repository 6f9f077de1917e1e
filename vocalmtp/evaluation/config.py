"""The settings of every evaluation. The command line makes its options of these fields."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from vocalmtp.decoding.options import SpeakerConditioning, given_sampling
from vocalmtp.hub import DEFAULT_MODEL

MANIFEST = "A corpus folder or a manifest."
CONDITIONING = (
    "Which parts receive the speaker vector: both, the speech LM (lm), the tokenizer's decoder "
    "(decoder), or none"
)
JUDGE = (
    "A judge, as NAME or NAME=ARGUMENT, once for each kind; further recognizers give further columns. "
    "Recognizers: whisper-tiny.en (vocalmtp get), pocketsphinx, pocketsphinx=FILE (of expected "
    "texts), whisper=FOLDER, faster-whisper=FOLDER, speech-lm=FOLDER. Speakers: resemblyzer, "
    "wavlm=FOLDER. Opinion scores: dnsmos. "
    "'vocalmtp eval judges' lists all."
)
CARD = "that of the model's card"
Limit = Annotated[int | None, Option(min=1, help="Sentences of each voice.")]
Seed = Annotated[int, Option(min=0, help="Seed of sampling.")]
Manifest = Annotated[Path, Option("--manifest", "-m", help=MANIFEST)]


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """Options of every evaluation: folder of results, judges, device."""

    output: Annotated[
        Path, Option("--output", "-o", help="Folder of results; the same command continues there.")
    ]
    judge: Annotated[list[str] | None, Option(help=JUDGE, show_default="the first of a kind")] = (
        None
    )
    device: Annotated[str, Option(help="Device of models and judges: cpu, cuda, cuda:N, auto.")] = (
        "cpu"
    )
    processes: Annotated[int, Option(min=1, help="Processes for speech recognition.")] = 2
    fresh: Annotated[bool, Option("--fresh", help="Discard existing results.")] = False


@dataclass(frozen=True, kw_only=True)
class ManifestEvalConfig(EvalSettings):
    """An evaluation on recordings."""

    manifest: Manifest
    split: Annotated[str, Option(help="Split of the manifest.")] = "test"
    voices: Annotated[str, Option(help="Voices, separated by commas; all if empty.")] = ""
    limit: Limit = None

    @property
    def voice_names(self) -> list[str]:
        """The voices as a list."""
        return [name for name in self.voices.split(",") if name]


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig(ManifestEvalConfig):
    """An evaluation of a recognizer, which is chosen as the judge."""

    split: Annotated[str, Option(help="Split of the manifest.")] = "heldout"


@dataclass(frozen=True, kw_only=True)
class TokenizerEvalConfig(ManifestEvalConfig):
    """An evaluation of a tokenizer."""

    limit: Limit = 10


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(ManifestEvalConfig):
    """Probes of a tokenizer's streams."""

    limit: Limit = 60


@dataclass(frozen=True, kw_only=True)
class EvalConfig(ManifestEvalConfig):
    """An evaluation of a model's speech beside natural speech and its resynthesis."""

    manifest: Annotated[
        Path,
        Option(
            "--manifest",
            "-m",
            help="A corpus folder, a manifest, or a list with one sentence per line (.txt).",
        ),
    ]
    model: Annotated[str, Option(help="Name of a bundled model, or a model folder.")] = (
        DEFAULT_MODEL
    )
    systems: Annotated[
        str,
        Option(help="Systems, separated by commas: natural, resynthesis (the codec alone), tts."),
    ] = "natural,resynthesis,tts"
    natural: Annotated[
        Path | None, Option(help="For a list: a manifest with recordings of its sentences.")
    ] = None
    speaker_conditioning: Annotated[
        SpeakerConditioning | None, Option(help=f"{CONDITIONING}.", show_default=CARD)
    ] = None
    seed: Seed = 0
    temperature: Annotated[float | None, Option(show_default=CARD)] = None
    top_k: Annotated[int | None, Option(show_default=CARD)] = None
    top_p: Annotated[float | None, Option(show_default=CARD)] = None
    min_p: Annotated[float | None, Option(show_default=CARD)] = None
    repetition_penalty: Annotated[float | None, Option(show_default=CARD)] = None
    greedy: Annotated[bool, Option("--greedy", help="Always take the most likely token.")] = False

    @property
    def sampling(self) -> dict[str, Any]:
        """Options of `TTS.batch`; those that were not given are left to the model."""
        return given_sampling(self)


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(EvalSettings):
    """A published benchmark of a model."""

    model: Annotated[
        str, Option("--model", "-m", help="Name of a bundled model, or a model folder.")
    ] = DEFAULT_MODEL
    batch_size: Annotated[int, Option(min=1, help="Texts per batch of synthesis.")] = 8
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class PromptListConfig(BenchmarkConfig):
    """Zero-shot synthesis of a published list of sentences and prompts."""

    source: Annotated[
        Path,
        Option("--list", help="meta.lst, or *.lst of LibriSpeech-PC; or the folder of a corpus."),
    ]
    layout: Annotated[
        str, Option(help="seed-tts-eval, librispeech-pc, librispeech or libritts.")
    ] = "seed-tts-eval"
    root: Annotated[
        Path | None, Option(help="Folder of the audio.", show_default="that of the list")
    ] = None
    convention: Annotated[
        str | None,
        Option(
            help="Rules of the word error rate: seed-tts-eval, librispeech-pc, vall-e, whisper, "
            "vocalmtp.",
            show_default="those of the layout's published figures",
        ),
    ] = None
    limit: Annotated[int | None, Option(min=1, help="Only the first sentences.")] = None
    speaker_conditioning: Annotated[
        SpeakerConditioning | None, Option(help=f"{CONDITIONING}.", show_default=CARD)
    ] = None


@dataclass(frozen=True, kw_only=True)
class RoleTriviaQAConfig(BenchmarkConfig):
    """RoleTriviaQA: knowledge, and the voices of roles."""

    data: Annotated[
        str,
        Option(
            help="mini, a folder of questions, RoleTriviaQA's folder of parquet files, or a .json "
            "file of TriviaQA or WebQuestions."
        ),
    ]
    answers: Annotated[
        str,
        Option(
            help="Answers: gold (correct ones), own (the model's), natural (the data's "
            "recordings), or a .jsonl file with the 'id' and 'text' of another model's answers."
        ),
    ] = "gold"
    ask: Annotated[
        Literal["text", "speech"],
        Option(help="Input of a model that answers itself: the questions as text or as speech."),
    ] = "text"
    split: Annotated[str, Option(help="Split of the questions.")] = "test"
    limit: Annotated[int | None, Option(min=1, help="Questions of each role and domain.")] = None
    speaker_conditioning: Annotated[
        Literal["both", "lm", "decoder", "none", "swapped"] | None,
        Option(
            help=f"{CONDITIONING}; swapped: the decoder receives the next role's.",
            show_default=CARD,
        ),
    ] = None
    mos_items: Annotated[int, Option(min=0, help="Answers that the MOS judge scores.")] = 100
    speed: Annotated[bool, Option(help="Also measure the speed.")] = True
