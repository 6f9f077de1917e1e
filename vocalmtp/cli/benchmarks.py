"""`vocalmtp eval roletriviaqa` and `vocalmtp eval testlist`: the published benchmarks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vocalmtp.hub import DEFAULT_MODEL

Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="Folder for audio, rows and the report; a run goes on."),
]
AModel = Annotated[str, typer.Option("--model", "-m", help="A model's name or folder.")]
Recogniser = Annotated[
    str,
    typer.Option(
        help="Who hears the words: pocketsphinx; pocketsphinx=FILE, which expects the texts of a "
        "file; or whisper=FOLDER."
    ),
]
SpeakerJudge = Annotated[
    str, typer.Option(help="Who hears the voices: resemblyzer, or wavlm=FOLDER.")
]
SpeakerConditioning = Annotated[
    str, typer.Option(help="Who is told the voice: both, lm, decoder, none.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Texts spoken together.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the noise in sampling.")]
Processes = Annotated[int, typer.Option(min=1, help="How many files are recognised at once.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again what is in the output folder.")]


def roletriviaqa(
    data: Annotated[
        str,
        typer.Option(
            help="mini, a folder of questions, RoleTriviaQA's folder of parquet files, or a .json "
            "file of TriviaQA or WebQuestions."
        ),
    ],
    output: Output,
    model: AModel = DEFAULT_MODEL,
    answers: Annotated[
        str,
        typer.Option(
            help="What is said: gold (the right answer), own (what the model knows), natural "
            "(nothing: the data's recordings are scored), or a .jsonl file with the 'id' and "
            "'text' of another model's answers."
        ),
    ] = "gold",
    ask: Annotated[
        Literal["text", "speech"],
        typer.Option(help="Whether a model that answers itself reads the questions or hears them."),
    ] = "text",
    split: Annotated[str, typer.Option(help="Which questions.")] = "test",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Questions of each role and domain.")
    ] = None,
    recogniser: Recogniser = "pocketsphinx",
    speaker_judge: SpeakerJudge = "resemblyzer",
    speaker_conditioning: Annotated[
        Literal["both", "lm", "decoder", "none", "swapped"],
        typer.Option(help="Who is told the voice; swapped: the decoder is told the next role's."),
    ] = "both",
    batch_size: BatchSize = 8,
    seed: Seed = 0,
    sound: Annotated[int, typer.Option(min=0, help="Answers that DNSMOS hears.")] = 100,
    speed: Annotated[bool, typer.Option(help="Also measure how fast it is.")] = True,
    processes: Processes = 2,
    fresh: Fresh = False,
) -> None:
    """What a model knows, and whether it keeps the voice of a role: RoleTriviaQA.

    One row a question in results.jsonl; figures for seen and unseen roles, inside and outside of
    the domain; who is taken for whom.

    Examples:

    vocalmtp eval roletriviaqa --data mini --output results --limit 5

    vocalmtp eval roletriviaqa --data chat_mini --model mine --answers own --ask speech -o results
    """
    from vocalmtp.evaluation.roletriviaqa import RoleRun, run_roletriviaqa

    asked = RoleRun(
        data=data,
        output=output,
        model=model,
        answers=answers,
        ask=ask,
        split=split,
        limit=limit,
        recogniser=recogniser,
        speaker_judge=speaker_judge,
        speaker_conditioning=speaker_conditioning,
        batch_size=batch_size,
        seed=seed,
        sound=sound,
        speed=speed,
        processes=processes,
        fresh=fresh,
    )
    typer.echo(run_roletriviaqa(asked))


def testlist(
    source: Annotated[
        Path,
        typer.Option(
            "--list", help="The list: meta.lst, or *.lst of LibriSpeech-PC; or a corpus's folder."
        ),
    ],
    output: Output,
    layout: Annotated[
        str, typer.Option(help="seed-tts-eval, librispeech-pc, librispeech or libritts.")
    ] = "seed-tts-eval",
    root: Annotated[
        Path | None,
        typer.Option(help="Where the audio is.", show_default="beside the list"),
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(
            help="How words are counted: seed-tts-eval, librispeech-pc, vall-e, whisper, vocalmtp.",
            show_default="the layout's own",
        ),
    ] = None,
    model: AModel = DEFAULT_MODEL,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first sentences.")] = None,
    recogniser: Recogniser = "pocketsphinx",
    speaker_judge: SpeakerJudge = "resemblyzer",
    speaker_conditioning: SpeakerConditioning = "both",
    batch_size: BatchSize = 8,
    seed: Seed = 0,
    processes: Processes = 2,
    fresh: Fresh = False,
) -> None:
    """Sentences in the voices of prompts that were never trained, by a published list.

    The word error rate is counted as the convention says, and the report names it.

    Example:

    vocalmtp eval testlist --list seedtts_testset/en/meta.lst --output results
    """
    from vocalmtp.evaluation.prompted import ListRun, run_list

    asked = ListRun(
        source=source,
        output=output,
        layout=layout,
        root=root,
        convention=convention,
        model=model,
        limit=limit,
        recogniser=recogniser,
        speaker_judge=speaker_judge,
        speaker_conditioning=speaker_conditioning,
        batch_size=batch_size,
        seed=seed,
        processes=processes,
        fresh=fresh,
    )
    typer.echo(run_list(asked))
