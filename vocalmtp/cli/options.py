"""Verbs as data: a dataclass of annotated fields becomes the options of a command.

Groups of options that several verbs share are dataclasses to inherit from.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from vocalmtp.engines.base import AUTO, ENGINES
from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    import torch

    from vocalmtp.decoding.options import Decoding
    from vocalmtp.decoding.reading import TextReader
    from vocalmtp.roles import Role

R = TypeVar("R")

SAMPLING, DECODING, ENCRYPTION = "Sampling", "Decoding", "Encryption"


def verb(
    app: typer.Typer, name: str, *, panel: str | None = None
) -> Callable[[Callable[[Any], R]], Callable[[Any], R]]:
    """Register `run(options)` as a command whose options are the fields of its argument's type.

    Args:
        app: the command line or group that gets the command.
        name: of the command.
        panel: the heading in the help of `app`.

    """

    def register(run: Callable[[Any], R]) -> Callable[[Any], R]:
        (argument,) = signature(run, eval_str=True).parameters.values()
        hints = get_type_hints(argument.annotation, include_extras=True)

        def command(**values: Any) -> R:
            return run(argument.annotation(**values))

        parameters = [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if field.default is MISSING else field.default,
                annotation=hints[field.name],
            )
            for field in fields(argument.annotation)
        ]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        command.__name__, command.__doc__ = run.__name__, run.__doc__
        app.command(name, rich_help_panel=panel)(command)
        return run

    return register


def option(*names: str, panel: str | None = None, **settings: Any) -> Any:
    """A Typer option with its help panel."""
    return typer.Option(*names, rich_help_panel=panel, **settings)


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where tensors are computed."""

    device: Annotated[
        str, option(help="cpu, cuda, cuda:N, or auto: a GPU if there is one.", metavar="DEVICE")
    ] = "cpu"

    def torch_device(self) -> "torch.device":
        """The device. Raises InputError if it does not exist."""
        from vocalmtp.engines.device import resolve_device

        return resolve_device(self.device)


@dataclass(frozen=True, kw_only=True)
class EngineOptions(DeviceOptions):
    """How the steps of a model run."""

    engine: Annotated[
        str,
        option(
            help=f"How steps run: {', '.join(ENGINES)}, or auto: the best for the device.",
            metavar="ENGINE",
        ),
    ] = AUTO
    threads: Annotated[
        int | None,
        option(
            min=1,
            max=1024,
            help="Threads of a step.",
            show_default="1, the fastest for small models",
        ),
    ] = None

    def runtime(self) -> dict[str, Any]:
        """Return the keyword arguments of `vocalmtp.load` for these options."""
        return {"device": self.device, "engine": self.engine, "threads": self.threads}


@dataclass(frozen=True, kw_only=True)
class ModelOptions(EngineOptions):
    """A speech LM and how it runs."""

    model: Annotated[
        str, option("--model", "-m", help="Name of a bundled model, or a model folder.")
    ] = DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class VoiceOptions:
    """A voice or a role."""

    voice: Annotated[
        str | None,
        option(
            "--voice",
            "-v",
            help="A name from 'vocalmtp voices', a voice file (.safetensors), or a recording to "
            "imitate (1 to 30 s).",
            show_default="the model's default voice",
        ),
    ] = None
    role: Annotated[
        str | None,
        option(help="In place of a voice: a name from 'vocalmtp roles', or its YAML file."),
    ] = None

    def speaker(self) -> "str | Role | None":
        """The role, the voice, or None. Raises InputError if both are given."""
        from vocalmtp.roles import load_role

        if self.role is None:
            return self.voice
        if self.voice is not None:
            raise InputError(
                f"voice '{self.voice}': the role '{self.role}' has its own; leave out one of them",
                code="conflict",
            )
        return load_role(self.role)


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How a text is read."""

    speed: Annotated[
        float, option(help="0.25 to 4 times as fast, at the same pitch.", metavar="FACTOR")
    ] = 1.0
    lexicon: Annotated[
        Path | None,
        option(help="A file of own pronunciations: lines 'word = spelling'."),
    ] = None
    unknown_characters: Annotated[
        str,
        option(
            metavar="refuse|skip|name",
            help="Words in a script that is not read: an error, left out with a warning, or each "
            "character by its name.",
        ),
    ] = "refuse"
    language: Annotated[
        str | None, option(help="Language of the text, for models of several languages.")
    ] = None
    instructions: Annotated[
        str | None,
        option(help="How to speak, or how the voice is, in words, for models that follow them."),
    ] = None

    def reader(self) -> "TextReader":
        """The options as one object. Raises InputError if one is invalid."""
        from vocalmtp.audio.stretch import check_speed
        from vocalmtp.decoding.reading import TextReader

        check_speed(self.speed)
        return TextReader.of(self.lexicon, self.unknown_characters)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How tokens are sampled."""

    seed: Annotated[
        int,
        option(
            panel=SAMPLING,
            min=0,
            help="Seed of the noise; without effect if the model's card recommends greedy decoding "
            "and no temperature is given.",
        ),
    ] = 0
    temperature: Annotated[
        float | None,
        option(
            panel=SAMPLING,
            help="0 or more; lower is clearer, higher is livelier.",
            show_default="the model's",
        ),
    ] = None
    top_k: Annotated[
        int | None,
        option(
            panel=SAMPLING,
            help="Sample from the k most likely tokens only.",
            show_default="the model's",
        ),
    ] = None
    top_p: Annotated[
        float | None,
        option(
            panel=SAMPLING,
            help="Sample from the most likely tokens that add up to this probability.",
            show_default="the model's",
        ),
    ] = None
    min_p: Annotated[
        float | None,
        option(
            panel=SAMPLING,
            help="Sample from the tokens with this share of the largest probability at least.",
            show_default="the model's",
        ),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        option(
            panel=SAMPLING,
            help="Above 1: tokens that a stream has had become less likely.",
            show_default="the model's",
        ),
    ] = None
    greedy: Annotated[
        bool, option("--greedy", panel=SAMPLING, help="Always take the most likely token.")
    ] = False

    def sampling(self) -> dict[str, Any]:
        """The options that were given. Raises InputError if they exclude each other."""
        if self.greedy and self.temperature:
            raise InputError(
                f"temperature '{self.temperature:g}': has no effect with --greedy; leave out one",
                code="conflict",
            )
        from vocalmtp.decoding.options import given_sampling

        return given_sampling(self)


@dataclass(frozen=True, kw_only=True)
class EncryptionOptions:
    """HTTPS of a server, without which browsers give no microphone to pages of other machines."""

    tls_certificate: Annotated[
        Path | None, option(panel=ENCRYPTION, help="Serve https by this certificate, a PEM file.")
    ] = None
    tls_key: Annotated[
        Path | None,
        option(
            panel=ENCRYPTION,
            help="The private key of the certificate, a PEM file.",
            show_default="in the file of the certificate",
        ),
    ] = None

    @property
    def scheme(self) -> str:
        """How addresses begin."""
        return "http" if self.tls_certificate is None else "https"

    def check_encryption(self) -> None:
        """Raise InputError for a key alone, or files that are no certificate with its key."""
        import ssl

        if self.tls_certificate is None:
            if self.tls_key is not None:
                raise InputError("tls-key: needs a certificate; give both", code="conflict")
            return
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.tls_certificate, self.tls_key
            )
        except OSError as error:
            raise InputError(
                f"tls-certificate '{self.tls_certificate}': cannot be used with its key "
                f"({error.strerror or error}); give PEM files that belong together",
                code="unusable",
            ) from error

    def encryption(self) -> dict[str, str]:
        """Return the settings of uvicorn."""
        files = {"ssl_certfile": self.tls_certificate, "ssl_keyfile": self.tls_key}
        return {name: str(file) for name, file in files.items() if file is not None}


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How steps are decoded."""

    drafts: Annotated[
        int,
        option(
            panel=DECODING,
            help="Steps that the draft head proposes per forward pass, which verifies them.",
        ),
    ] = 0
    draft_tree: Annotated[
        Path | None,
        option(
            panel=DECODING,
            help="Propose the paths of this file (vocalmtp text draft-tree) instead of a chain; "
            "for models of one token per step.",
        ),
    ] = None
    accept: Annotated[
        str | None,
        option(
            panel=DECODING,
            help="Acceptance rule of drafts. Lossless: rejection, joint (whole steps), seed (equal "
            "to decoding without drafts). Lossy: typical, near, all.",
            show_default="rejection; seed with a tree",
        ),
    ] = None
    tolerance: Annotated[
        float | None,
        option(
            panel=DECODING,
            help="Threshold of typical (a probability) and near (quantization levels).",
            show_default="0.09 and 1",
        ),
    ] = None
    tokens_per_step: Annotated[
        int | None,
        option(
            panel=DECODING,
            help="Codec tokens per step, for elastic models ('vocalmtp info'): more are faster, "
            "fewer are clearer.",
            show_default="the most",
        ),
    ] = None

    def decoding(self) -> "Decoding":
        """The options as one object. Raises InputError if they contradict each other."""
        from vocalmtp.decoding.options import Decoding

        tree = None
        if self.draft_tree is not None:
            from vocalmtp.decoding.tree import DraftTree

            tree = DraftTree.load(self.draft_tree)
        accept: Any = self.accept or ("rejection" if tree is None else "seed")
        return Decoding(
            drafts=self.drafts,
            accept=accept,
            tolerance=self.tolerance,
            tree=tree,
            tokens_per_step=self.tokens_per_step,
        )
