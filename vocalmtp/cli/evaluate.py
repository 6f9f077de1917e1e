"""`vocalmtp eval`: measure models and tokenizers on recordings whose sentences they then say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.eval.measure import Spoke
    from vocalmtp.eval.report import Line
    from vocalmtp.synthesis import TTS

app = typer.Typer(
    help="Measure how clear, how alike, how clean and how fast speech is. Natural speech of the "
    "same sentences always stands beside ours. Needs: pip install 'vocalmtp[eval]'",
    no_args_is_help=True,
)

Manifest = Annotated[Path, typer.Option("--manifest", "-m", help="A corpus folder or a manifest.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for audio, rows and reports.")]
Model = Annotated[str, typer.Option(help="A model's name or folder.")]
Split = Annotated[str, typer.Option(help="Which rows of the manifest.")]
Voices = Annotated[str, typer.Option(help="Only these voices, with commas; all if empty.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Sentences of each voice.")]
Systems = Annotated[str, typer.Option(help="Which of natural, resynthesis and tts, with commas.")]
Temperature = Annotated[float | None, typer.Option(help="As in 'vocalmtp tts'.")]


@app.command()
def intelligibility(
    manifest: Manifest,
    output: Output,
    model: Model = DEFAULT_MODEL,
    split: Split = "test",
    voices: Voices = "",
    limit: Limit = None,
    systems: Systems = "natural,resynthesis,tts",
    temperature: Temperature = None,
) -> None:
    """Word error rates as pocketsphinx hears them, and outputs that failed to stop or to start."""
    from vocalmtp.eval.measure import measure_intelligibility

    spoke, _ = _speak(manifest, output, model, split, voices, limit, systems, temperature)
    _report(output, "intelligibility", measure_intelligibility(spoke, output), model)


@app.command()
def similarity(
    manifest: Manifest,
    output: Output,
    model: Model = DEFAULT_MODEL,
    split: Split = "test",
    voices: Voices = "",
    limit: Limit = None,
    systems: Systems = "natural,resynthesis,tts",
    temperature: Temperature = None,
) -> None:
    """Cosine of speaker embeddings to the asked voice, and to the nearest other one.

    A voice that the model does not have (--split heldout) is made from one recording of it.
    """
    from vocalmtp.eval.measure import measure_similarity
    from vocalmtp.eval.systems import pick_items, pick_references

    spoke, tts = _speak(manifest, output, model, split, voices, limit, systems, temperature)
    items = pick_items(manifest, split, _names(voices), limit)
    names = {item.voice for item in items} | set(tts.voices)
    references = pick_references(manifest, sorted(names), items)
    _report(output, "similarity", measure_similarity(spoke, references, output), model)


@app.command()
def quality(
    manifest: Manifest,
    output: Output,
    model: Model = DEFAULT_MODEL,
    split: Split = "test",
    voices: Voices = "",
    limit: Limit = None,
    systems: Systems = "natural,resynthesis,tts",
    temperature: Temperature = None,
) -> None:
    """STOI and PESQ of the tokenizer, DNSMOS of everything, and spectrograms side by side."""
    from vocalmtp.eval.measure import measure_quality
    from vocalmtp.eval.report import plot_spectrograms

    spoke, _ = _speak(manifest, output, model, split, voices, limit, systems, temperature)
    _report(output, "quality", measure_quality(spoke, output), model)
    for system in spoke.keys() - {"natural"}:
        pairs = [(f"{i.voice}: {i.text}", i.natural, i.audio) for i in spoke[system][:4]]
        plot_spectrograms(pairs, output / f"spectrograms-{system}.png")


@app.command()
def disentanglement(
    manifest: Manifest,
    output: Output,
    model: Model = DEFAULT_MODEL,
    split: Split = "test",
    voices: Voices = "",
    limit: Limit = 60,
) -> None:
    """Phones, pitch and speaker as probes find them in content and in prosody; swapped timbre."""
    from vocalmtp.catalogue import tokenizer_folder
    from vocalmtp.eval.disentanglement import probe_streams, swap_timbre
    from vocalmtp.eval.report import Line
    from vocalmtp.eval.statistics import Figure
    from vocalmtp.eval.systems import pick_items
    from vocalmtp.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder(model))
    items = pick_items(manifest, split, _names(voices), limit)
    lines = [
        Line(name.replace("_", " "), tokenizer.card.name, Figure(value, value, value, len(items)))
        for name, value in probe_streams(tokenizer, items).items()
    ]
    swapped = swap_timbre(tokenizer, items, output / "swapped")
    lines += [Line(name.replace("_", " "), tokenizer.card.name, f) for name, f in swapped.items()]
    _report(output, "disentanglement", lines, model)


@app.command()
def speed(
    output: Output,
    model: Model = DEFAULT_MODEL,
    against: Annotated[
        str | None, typer.Option(help="Another model, whose decode loop is run in turns with ours.")
    ] = None,
) -> None:
    """Real-time factor, first audio and cold start; decode loops of two models side by side."""
    from vocalmtp.eval.report import Line
    from vocalmtp.eval.speed import (
        cold_start,
        first_audio,
        hardware,
        real_time_factors,
        steps_per_second,
    )
    from vocalmtp.eval.statistics import Figure
    from vocalmtp.synthesis import load

    models = {name: load(name) for name in (model, against) if name is not None}
    tts = models[model]
    lines = []
    for size in (1, 8):
        factor = real_time_factors({model: tts}, size)[model]
        lines.append(Line(f"real-time factor, batch {size}", model, factor, digits=3))
    lines.append(Line("first audio", model, first_audio(tts), "ms", 0))
    seconds, peak = cold_start(model)
    lines.append(Line("vocalmtp tts, whole process", model, seconds, "s"))
    lines.append(Line("... peak memory", model, Figure(peak, peak, peak, seconds.count), "GiB"))
    if against is not None:
        for size in (1, 8):
            for name, rates in steps_per_second(models, size).items():
                lines.append(
                    Line(f"audio seconds a second, loop, batch {size}", name, rates["audio"])
                )
                lines.append(
                    Line(f"steps a second, loop, batch {size}", name, rates["steps"], "", 0)
                )
    _report(output, "speed", lines, model, hardware())


def _names(voices: str) -> list[str]:
    return [name for name in voices.split(",") if name]


def _speak(
    manifest: Path,
    output: Path,
    model: str,
    split: str,
    voices: str,
    limit: int | None,
    systems: str,
    temperature: float | None,
) -> tuple["Spoke", "TTS"]:
    """The audio of every system, made or found in `output`."""
    from vocalmtp.errors import InputError, nearest
    from vocalmtp.eval.rows import check_settings
    from vocalmtp.eval.systems import SYSTEMS, pick_items, speak
    from vocalmtp.synthesis import load

    asked = _names(systems)
    for system in asked:
        if system not in SYSTEMS:
            raise InputError(f"system '{system}': unknown; {nearest(system, SYSTEMS)}")
    tts = load(model)
    items = pick_items(manifest, split, _names(voices), limit)
    settings = {"model": model, "split": split, "temperature": temperature}
    check_settings(output, settings, fresh=False)
    sampling = {} if temperature is None else {"temperature": temperature}
    return {name: speak(name, items, tts, output, **sampling) for name in asked}, tts


def _report(output: Path, title: str, lines: list["Line"], model: str, *notes: str) -> None:
    from vocalmtp.eval.report import write_report

    typer.echo(write_report(output, title, lines, (f"Model: {model}.", *notes)))
