"""Schemas of training recipes, the YAML files of `vocalmtp train`: the key `recipe` names the kind.

speech_lm and text_lm are trained by the Trainer of Transformers, tokenizer and aligner by
`TrainingLoop`; finetune adapts a speech LM and the decoder of its tokenizer to a new voice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL
from vocalmtp.model_card import RecommendedSampling
from vocalmtp.models.aligner import AlignerConfig
from vocalmtp.models.prompts import TextMode
from vocalmtp.tokenizers.neural import NeuralTokenizerConfig
from vocalmtp.tokenizers.spec import Kind
from vocalmtp.training.distributed import Precision

SpeechTask = Literal["tts", "asr"]
QuestionTask = Literal["spoken_qa", "text_qa", "text"]
Curriculum = Literal["constant", "forward", "reverse"]


# -- speech LM and text LM -------------------------------------------------------------------------


class OptimRecipe(StrictModel):
    """Optimization of a speech or text LM.

    A step is one batch of about `batch_frames` codec frames (tokens of a text LM), over all
    processes.
    """

    max_steps: int = Field(default=10_000, ge=1)
    max_seconds: float | None = None  # ends the run before max_steps, and saves
    batch_frames: int = Field(default=1600, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    adam_beta2: float = Field(default=0.98, gt=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "fp32"
    seed: int = 0
    trainable: Literal["all", "draft"] = "all"  # draft: only the draft head, the rest is frozen
    curriculum: Curriculum = "constant"  # over the states of the draft head, see `active_heads`
    log_every: int = Field(default=50, ge=1)  # steps, as the two below
    eval_every: int = Field(default=1000, ge=1)
    save_every: int = Field(default=1000, ge=1)


class LoRARecipe(StrictModel):
    """Low-rank adapters of a pretrained backbone, see vocalmtp/training/lora.py."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)  # adapters are scaled by alpha / rank
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | None = None  # names of layers; None: all linear ones


class RecordingsRecipe(StrictModel):
    """Recordings as audio input of a model with `source: mels`, and their augmentation."""

    manifests: tuple[str, ...] = Field(min_length=1)
    warp: float = Field(default=0.15, ge=0, lt=1)  # largest relative stretch of the mel axis
    equalizer: float = Field(default=0.0, ge=0)  # dB, standard deviation of the gain of a band
    speed: float = Field(default=0.0, ge=0, lt=1)  # largest relative change of speed
    masks: int = Field(default=0, ge=0)  # SpecAugment masks in frequency, and as many in time
    reverb_prob: float = Field(default=0.3, ge=0, le=1)
    noise_prob: float = Field(default=0.5, ge=0, le=1)
    snr: tuple[float, float] = (5.0, 40.0)  # dB, range of the noise
    silence: float = Field(default=0.4, ge=0)  # seconds, most that is added at both ends


class QuestionsRecipe(StrictModel):
    """Questions with spoken answers.

    `folder` has the format that recipes/roletriviaqa_mini and recipes/chat_mini write; `shards` are
    the codes of its manifest.
    """

    folder: str
    shards: str
    tasks: dict[QuestionTask, float]


class OwnSpeechRecipe(StrictModel):
    """Training data that the model itself speaks, written to `shards` before the training."""

    texts: str  # list of sentences, see vocalmtp.data.text_lists
    voices: tuple[str, ...] = ()  # names or files, used in turn; empty: the model's default voice
    sampling: RecommendedSampling = RecommendedSampling()  # in place of what is recommended
    seed: int = 0
    batch_size: int = Field(default=8, ge=1)
    truncated: bool = False  # whether to keep speech that was cut off, as if it had ended


class DataRecipe(StrictModel):
    """Training data of a speech LM.

    `tasks` maps a task to how often an epoch has each of its rows; 0.5 takes every second row.
    `shards` may be those of the questions. With `recordings`, asr transcribes all of them, and a
    spoken question is any recording of its text.
    """

    shards: str  # folder of code shards
    own_speech: OwnSpeechRecipe | None = None
    split: str = "train"
    valid_split: str | None = "valid"
    valid_items: int = Field(default=200, ge=1)  # most rows of each task
    max_frames: int = Field(default=750, ge=1)  # longer utterances are left out
    tasks: dict[SpeechTask, float] = {"tts": 1.0}
    questions: QuestionsRecipe | None = None
    recordings: RecordingsRecipe | None = None


class ModelRecipe(StrictModel):
    """A new speech LM, see `SpeechLMConfig`.

    `backbone` is the configuration of a causal LM; `pretrained` names a causal LM, or a speech LM
    of which only the backbone is used. `trunk` names a text LM, which stays frozen and whose hidden
    states the backbone reads (vocalmtp/models/trunk.py).
    """

    backbone: dict[str, Any] | None = None
    pretrained: str | None = None
    trunk: str | None = None
    pretrained_config: dict[str, Any] | None = None  # of `pretrained`, for --dry-run
    frames_per_step: int | tuple[int, ...] = 1  # several: an elastic model
    flat: bool = False
    end_slots: Literal["first", "all"] = "first"
    text: TextMode = "track"
    template: str = ""
    phones: bool = False  # whether the text track reads phones beside letters
    backbone_norm: bool = True
    head: dict[str, Any] = {"name": "parallel"}
    draft: dict[str, Any] = {}
    objectives: dict[str, dict[str, Any]] = {}
    track: dict[str, Any] = {}
    audio_input: dict[str, Any] = {}
    interleave: dict[str, Any] = {}  # of text and speech in answers; empty: text first
    text_loss_weight: float = Field(default=1.0, ge=0)
    speaker_projection: dict[str, Any] = {}
    speaker_every_step: bool = False
    speaker_dropout: float = Field(default=0.1, ge=0, le=1)
    step_dropout: float = Field(default=0.1, ge=0, le=1)
    loss_weights: dict[str, float] = {}


class SpeechLMRecipe(StrictModel):
    """Training run of a speech LM.

    Either `model` describes a new one, or `init` names the model to continue from; `draft` and
    `audio_input` then add a draft head or an audio encoder, or change their settings, `interleave` has
    the text and the speech of answers alternate, and `trunk` adds the text of prompts, as a frozen text
    LM reads it, to a model with a text track.
    """

    recipe: Literal["speech_lm"] = "speech_lm"
    data: DataRecipe
    model: ModelRecipe | None = None
    init: str | None = None  # name or folder
    new_codes: bool = False  # of a tokenizer other than that of `init`, with the same streams
    trunk: str | None = None  # a text LM, over which `init` goes on and which stays frozen
    speaker_dropout: float | None = Field(default=None, ge=0, le=1)  # of `init`; None: as it was
    draft: dict[str, Any] = {}
    audio_input: dict[str, Any] = {}
    interleave: dict[str, Any] = {}  # changes that of `init`
    lora: LoRARecipe | None = None  # instead of training all of the backbone
    optim: OptimRecipe = OptimRecipe()
    device: str = "auto"  # CUDA if there is one, else the CPU
    output: str


class TextDataRecipe(StrictModel):
    """Text files (.txt, .jsonl, .csv), see `vocalmtp.data.text_rows`."""

    texts: tuple[str, ...]
    valid: tuple[str, ...] = ()  # held out; without it, there is no evaluation
    valid_rows: int = Field(default=200, ge=1)
    length: int = Field(default=256, ge=2)  # tokens of a row
    packed: bool = True  # rows are windows over all texts; else each text is a row
    states: str | None = None  # file of a frozen model's states, computed once; trainable: draft


class TeacherRecipe(StrictModel):
    """Distillation from a teacher, see vocalmtp/training/teacher.py."""

    model: str  # name or folder of a causal LM
    weight: float = Field(
        default=0.5, ge=0, le=1
    )  # of the teacher's losses; the rest is of the texts'
    decay: float = Field(default=0.6, gt=0, le=1)  # of the weight from one offset to the next
    temperature: float = Field(default=1.0, gt=0)
    loss: Literal["kl", "uld"] = "kl"  # uld: for another tokenizer


class TextLMRecipe(StrictModel):
    """Training run of a text LM and its draft head.

    Either `init` names the causal LM to continue from, or `backbone` is the configuration of a new
    one and `tokenizer` the folder of its tokenizer.
    """

    recipe: Literal["text_lm"] = "text_lm"
    data: TextDataRecipe
    init: str | None = None
    backbone: dict[str, Any] | None = None
    tokenizer: str | None = None
    draft: dict[str, Any] = {}  # a new draft head, or changed settings of that of `init`
    draft_vocab: str | None = None  # the drafts' losses are over the tokens of this file
    objectives: dict[str, dict[str, Any]] = {}
    teacher: TeacherRecipe | None = None
    lora: LoRARecipe | None = None  # of `init`, instead of training all of it
    optim: OptimRecipe = OptimRecipe()
    device: str = "auto"  # CUDA if there is one, else the CPU
    output: str


# -- speech tokenizer and aligner ------------------------------------------------------------------


class LoopRecipe(StrictModel):
    """Keys of every run of `TrainingLoop`, which ends after `steps` or `max_minutes`."""

    output: Path
    steps: int = Field(ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    save_minutes: float = Field(default=5.0, gt=0)  # between two checkpoints
    batch_size: int = Field(ge=1)  # of each process
    crop_seconds: float = Field(gt=0)  # length of the random crops of utterances
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    device: str = "auto"  # CUDA if there is one, else the CPU
    precision: Precision = "fp32"
    threads: int = Field(default=1, ge=1)  # of the CPU
    seed: int = 0


class AlignerRecipe(LoopRecipe):
    """Training run of the aligner, on a corpus with character and phone times."""

    recipe: Literal["aligner"] = "aligner"
    corpus: Path
    model: AlignerConfig = AlignerConfig()
    steps: int = Field(default=4000, ge=1)
    save_minutes: float = Field(default=2.0, gt=0)
    batch_size: int = Field(default=12, ge=1)
    crop_seconds: float = Field(default=4.0, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=30, ge=0)
    warp: float = Field(default=0.2, ge=0, lt=1)  # largest relative stretch of the mel axis
    reverb_prob: float = Field(default=0.3, ge=0, le=1)
    noise_prob: float = Field(default=0.6, ge=0, le=1)
    snr: tuple[float, float] = (5.0, 40.0)  # dB, range of the noise


class TokenizerLossWeights(StrictModel):
    """Weights of the losses; each kind of tokenizer uses some of them.

    The `leak` losses are trained through gradient reversal: a larger weight removes more of pitch
    and timbre from the content streams.
    """

    spectral: float = 1.0
    pitch: float = 10.0
    phone: float = 0.3
    leak_pitch: float = 0.1
    leak_timbre: float = 0.1
    residual: float = 0.25
    adversarial: float = 0.1
    feature_matching: float = 0.5


class TokenizerRecipe(LoopRecipe):
    """Training run of the speech tokenizer. `init` is the folder of one to continue from.

    The key `kind` is short for `model.kind`.
    """

    recipe: Literal["tokenizer"] = "tokenizer"
    corpus: Path
    voices: tuple[str, ...] = ()  # of the corpus; all if empty
    model: NeuralTokenizerConfig = Field(default_factory=NeuralTokenizerConfig)
    speaker_encoder: str | None = None  # tokenizer, by name or folder, whose speaker encoder to use
    init: Path | None = None
    train_only: Literal["decoder"] | None = None  # decoder: the codes stay valid
    steps: int = Field(default=20_000, ge=1)
    batch_size: int = Field(default=10, ge=1)
    crop_seconds: float = Field(default=2.56, gt=0)  # that are encoded
    decode_frames: int = Field(default=32, ge=1)  # codec frames of a crop that are decoded
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    warp: float = Field(default=0.12, ge=0, lt=1)  # of the mel axis, against timbre in the content
    resample_prob: float = Field(default=0.0, ge=0, le=1)  # of crops read at another sample rate
    resample: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.25)  # range of its factor
    noise_prob: float = Field(default=0.0, ge=0, le=1)  # in the input of the encoder, as reverb
    reverb_prob: float = Field(default=0.0, ge=0, le=1)
    snr: tuple[float, float] = (10.0, 40.0)  # dB, range of the noise
    discriminator_start: float = Field(default=0.2, ge=0)  # share of the run
    predicted_pitch_start: float = Field(default=0.5, ge=0)  # share of the run; before, true F0
    ema_decay: float = Field(default=0.999, ge=0, lt=1)  # of the averaged weights, which are saved
    loss_weights: TokenizerLossWeights = Field(default_factory=TokenizerLossWeights)

    @model_validator(mode="before")
    @classmethod
    def _put_kind_into_model(cls, data: Any) -> Any:
        """The key `kind` is short for `model.kind`."""
        if not isinstance(data, Mapping) or data.get("kind") is None:
            return data
        data = dict(data)
        kind, model = data.pop("kind"), data.get("model") or {}
        if not isinstance(model, Mapping):
            return data
        if model.get("kind", kind) != kind:
            raise ValueError(f"kind is '{kind}' and model.kind '{model['kind']}'; give one of them")
        return data | {"model": {**model, "kind": kind}}

    def check_kind(self, found: Kind) -> None:
        """Raise InputError if the recipe has another kind than that of `init`."""
        if "kind" in self.model.model_fields_set and found != self.model.kind:
            raise InputError(
                f"init '{self.init}': is {found}, not {self.model.kind}; leave the kind out",
                code="mismatch",
            )

    @property
    def speaker_encoder_source(self) -> str | None:
        """Tokenizer that the speaker encoder is copied from; None if it is trained or in `init`.

        Only a decoupled decoder uses the speaker vector, and can train its encoder.
        """
        if self.speaker_encoder is None and self.init is None and self.model.kind != "decoupled":
            return DEFAULT_MODEL
        return self.speaker_encoder


# -- a new voice -----------------------------------------------------------------------------------


class DecoderRecipe(StrictModel):
    """Training of the tokenizer's decoder on the new voice; none if `max_minutes` is 0."""

    max_minutes: float = Field(default=10.0, ge=0)
    learning_rate: float = Field(default=3e-4, gt=0)
    warmup_steps: int = Field(default=20, ge=1)
    batch_size: int = Field(default=10, ge=1)
    discriminator_start: float = 0.2
    ema_decay: float = Field(default=0.98, ge=0, lt=1)  # short, as the run is
    precision: Precision = "fp32"
    threads: int = Field(default=1, ge=1)


class FinetuneRecipe(StrictModel):
    """Adaptation of a model to a voice; intermediate files are written to `output`/work."""

    recipe: Literal["finetune"] = "finetune"
    data: Path  # recordings with transcripts, or a corpus that `vocalmtp prepare` made
    output: Path
    voice: str = Field(pattern=r"^[\w-]+$")
    origin: str = "made from recordings"
    model: str = DEFAULT_MODEL  # name or folder of the model to adapt
    valid_share: float = Field(default=0.1, gt=0, le=0.5)  # of the recordings, held out
    workers: int = Field(default=1, ge=1)  # processes that align the recordings
    max_frames: int = Field(default=750, ge=1)
    device: str = "auto"  # CUDA if there is one, else the CPU
    decoder: DecoderRecipe = DecoderRecipe()
    optim: OptimRecipe = OptimRecipe(
        max_steps=300,
        batch_frames=800,
        learning_rate=1e-4,
        warmup_steps=20,
        log_every=10,
        eval_every=50,
        save_every=50,
    )
    eval_sentences: int = Field(default=16, ge=1)  # held-out ones, synthesized at each evaluation
    # NAME or NAME=ARGUMENT, as of `vocalmtp eval --judge`; the log has the recognizer's error rate.
    judges: tuple[str, ...] = ()
