"""`vocalmtp bench`: speed and latency of a model on this machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.options import DecodingOptions, EngineOptions, option
from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.evaluation.report import Metric


@dataclass(frozen=True, kw_only=True)
class BenchOptions(EngineOptions, DecodingOptions):
    """Options of `vocalmtp bench`."""

    model: Annotated[str, typer.Argument(help="Name of a bundled model, or a model folder.")] = (
        DEFAULT_MODEL
    )
    against: Annotated[
        str | None,
        option(
            help="A next-token model as the baseline of the decode loop.",
            show_default="the same backbone with random weights",
        ),
    ] = None
    chat: Annotated[
        bool,
        option("--chat", help="Measure conversations: latency by part, and concurrent sessions."),
    ] = False
    methods: Annotated[
        bool,
        option("--methods", help="Compare all heads and strategies, on random weights."),
    ] = False
    peers: Annotated[
        bool,
        option("--peers", help="Compare with other text-to-speech systems that are installed."),
    ] = False
    upstream: Annotated[
        bool,
        option(
            "--upstream",
            help="MODEL is a family of published models: compare with Transformers' loop on the same "
            "random weights.",
        ),
    ] = False
    layers: Annotated[
        int | None,
        option(min=1, max=200, help="With --upstream: layers of the backbone.", show_default="all"),
    ] = None
    batch: Annotated[
        int | None,
        option(
            min=1, max=1024, help="With --upstream: rows decoded together.", show_default="1 and 8"
        ),
    ] = None
    neighbours: Annotated[
        int, option(min=0, max=1024, help="With --peers: busy processes beside the measurement.")
    ] = 0
    serve: Annotated[
        str | None,
        option(
            help="Measure the server at this address with 1 to 64 clients, for two minutes each.",
            metavar="URL",
        ),
    ] = None
    quick: Annotated[
        bool, option("--quick", help="Fewer batch sizes, methods and repetitions.")
    ] = False
    json: Annotated[Path | None, option(help="Also write the metrics as JSON.")] = None

    def check(self) -> None:
        """Raise InputError for options that exclude each other."""
        special = {
            "chat": self.chat,
            "methods": self.methods,
            "peers": self.peers,
            "upstream": self.upstream,
            "serve": self.serve is not None,
        }
        chosen_ones = [name for name, chosen in special.items() if chosen]
        for name in chosen_ones[1:]:
            raise InputError(
                f"{name}: does not apply to --{chosen_ones[0]}; leave out one", code="conflict"
            )
        for name in ("layers", "batch"):
            if getattr(self, name) and not self.upstream:
                raise InputError(f"{name}: is for --upstream; leave it out", code="conflict")
        if self.neighbours and not self.peers:
            raise InputError("neighbours: is for --peers; leave it out", code="conflict")
        for other, chosen in special.items():
            for name in ("against", "drafts", "draft_tree", "tokens_per_step"):
                if chosen and getattr(self, name):
                    raise InputError(
                        f"{name}: does not apply to --{other}; leave out one", code="conflict"
                    )


def bench(options: BenchOptions) -> None:
    """Measure the speed of MODEL: medians with minimum and maximum, after warm-up.

    Real-time factor by batch size, latency of the first audio, a cold process, grouped against
    next-token decoding in the same loop, time by part, and the share of the memory bandwidth. The
    machine should be otherwise idle.

    Examples:

    vocalmtp bench mini --json speed.json

    vocalmtp bench mini --chat

    vocalmtp bench mini --methods --quick

    vocalmtp bench mini --peers --json peers.json

    vocalmtp bench orpheus --upstream --layers 4

    vocalmtp bench --serve http://127.0.0.1:8000

    vocalmtp bench my-model --drafts 3 --accept joint

    """
    import torch

    from vocalmtp.bench.speed import hardware
    from vocalmtp.evaluation.report import as_json, as_markdown
    from vocalmtp.io.atomic import atomic_path, check_file

    if options.json is not None:
        check_file(options.json, "json")
    torch.set_num_threads(options.threads or 1)
    options.check()
    parts, notes = _measure(
        options, [f"Model: {options.model}.", f"Machine: {hardware(options.device)}."]
    )
    sections: dict[str, list[Metric]] = {}
    for heading, metrics in parts:  # printed as soon as they are complete
        sections[heading] = metrics
        print(f"{as_markdown({heading: metrics})}\n", flush=True)
    print("\n".join(notes))
    if options.json is not None:
        with atomic_path(options.json) as partial:
            partial.write_text(as_json(sections, notes), encoding="utf-8")


def _measure(
    options: BenchOptions, notes: list[str]
) -> "tuple[Iterable[tuple[str, list[Metric]]], list[str]]":
    """Measure what the options name: metrics below their headings, and `notes` with more of them."""
    from vocalmtp.loading import load

    model, runtime, quick = options.model, options.runtime(), options.quick
    decoding = options.decoding()
    if options.chat:
        from vocalmtp.bench.chat import run_chat_bench

        return [("", run_chat_bench(model, runtime, quick))], notes
    if options.serve is not None:
        from vocalmtp.bench.serve import SECONDS, run_serve_bench

        seconds = 10.0 if quick else SECONDS
        return [("", run_serve_bench(options.serve, seconds=seconds))], notes
    if options.peers:
        from vocalmtp.bench.peers import cpu_flags, run_peers

        tts, repeats = load(model, **runtime), 2 if quick else 7
        measured, missing = run_peers(tts, model, repeats, options.neighbours)
        busy = f"Busy processes beside it: {options.neighbours}."
        notes = [*missing, *notes, f"CPU: {cpu_flags()}. One thread each. {busy}"]
        return [("", measured)], notes
    if options.upstream:
        from vocalmtp.bench.upstream import NOTE, run_upstream

        measured = run_upstream(model, options.layers, runtime, quick, options.batch)
        return [("", measured)], [NOTE, f"Layers: {options.layers or 'as published'}.", *notes]
    if options.methods:
        from vocalmtp.bench.methods import NOTES, run_methods

        return run_methods(load(model, **runtime), quick), [*NOTES, *notes]
    from vocalmtp.bench.run import run_bench

    return [("", run_bench(model, options.against, decoding, runtime, quick))], notes
