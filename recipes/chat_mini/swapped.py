"""How much of an answer is read from its question: its word after this and after another question.

    python recipes/chat_mini/swapped.py runs/small runs/small-interleaved

Training answers, each once, given up to the first letter of the word that they differ in. Where
that letter is right after the question of another answer, it is known from the speech before it.
"""

import argparse
import json
from pathlib import Path

import torch

from vocalmtp.models.layout import IGNORED
from vocalmtp.models.prompts import Segment
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.training.question_data import read_questions, read_speech
from vocalmtp.training.recipe import QuestionsRecipe
from vocalmtp.training.tasks import QuestionDataset

PLACE = len("the answer is ")  # of the first letter that answers do not share


@torch.no_grad()
def right_share(model: SpeechLM, rows: list[list[Segment]]) -> float:
    """Share of the answers whose letter at PLACE is predicted."""
    right = 0
    for row in rows:
        batch = model.collator()([row])
        logits = model.backbone.get_output_embeddings()(model.hidden_states(batch))[0]  # [L, V]
        assert batch.text_targets is not None
        targets = batch.text_targets[0]
        place = int((targets != IGNORED).nonzero()[PLACE, 0])
        right += int(logits[place].argmax() == targets[place])
    return round(right / len(rows), 3)


def main() -> None:
    """Print a line for every model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="output folders of trainings")
    parser.add_argument("--data", default="chat_small")
    parser.add_argument("--codes", default="codes-small")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = QuestionsRecipe(folder=arguments.data, shards=arguments.codes, tasks={"text_qa": 1.0})
    for folder in arguments.models:
        model = SpeechLM.load(folder).eval()
        speech = read_speech(recipe, "train", model.config)
        rows = read_questions(Path(recipe.folder), "train")
        rows = list({row.answer: row for row in rows}.values())
        others = [
            row.model_copy(update={"question": other.question})
            for row, other in zip(rows, [*rows[1:], rows[0]], strict=True)
        ]
        shares = [
            right_share(
                model, list(QuestionDataset(own, model.config, 750, None, "text_qa", speech))
            )
            for own in (rows, others)
        ]
        print(json.dumps({"model": folder, "own_question": shares[0], "other_question": shares[1]}))


if __name__ == "__main__":
    main()
