"""Reading of the questions of a recipe, and of the codes of their speech."""

from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.shards import CodeItem, CodeShards
from vocalmtp.errors import InputError
from vocalmtp.evaluation.questions import QUESTIONS, QuestionRow
from vocalmtp.io.read import problem_of, read_lines
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.text import normalize
from vocalmtp.training.recipe import QuestionsRecipe


def read_questions(folder: Path, split: str) -> list[QuestionRow]:
    """Read the questions of a split, normalized; those that cannot be normalized are left out.

    Raises:
        InputError: there are none, or a line is invalid.

    """
    path, rows = folder / QUESTIONS, []
    if not path.is_file():
        raise InputError(
            f"questions '{folder}': has no {QUESTIONS}; make it with recipes/chat_mini",
            code="not_found",
        )
    for number, line in read_lines(path, f"questions '{folder}'"):
        try:
            row = QuestionRow.model_validate_json(line)
        except ValidationError as error:
            raise InputError(
                f"questions '{folder}': {path.name} line {number}: {problem_of(error)}",
                code="invalid_value",
            ) from error
        if row.split == split:
            with suppress(InputError):
                texts = {"question": normalize(row.question), "answer": normalize(row.answer)}
                rows.append(row.model_copy(update=texts))
    if not rows:
        raise InputError(
            f"questions '{folder}': none of the split '{split}'; make them again", code="empty"
        )
    return rows


def read_speech(recipe: QuestionsRecipe, split: str, config: SpeechLMConfig) -> dict[str, CodeItem]:
    """Read the utterances of a split, by the path of their audio, as questions name it.

    Raises:
        InputError: they are codes of another tokenizer than the model's.

    """
    folder, shards = Path(recipe.folder), CodeShards(recipe.shards, split)
    made, expected = shards.spec, config.tokenizer
    if made.hash != expected.get("hash"):
        raise InputError(
            f"questions.shards '{recipe.shards}': are codes of '{made.name}' ({made.hash}), and the "
            f"model has those of '{expected.get('name')}' ({expected.get('hash')}); tokenize again",
            code="mismatch",
        )
    place = {row.id: index for index, row in enumerate(shards.rows)}
    return {
        row.audio.relative_to(folder).as_posix(): shards[place[row.id]]
        for row in read_manifest(folder, split)
        if row.id in place
    }
