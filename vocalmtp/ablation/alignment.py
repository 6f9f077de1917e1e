"""How near the hidden states of a text and of its speech are: one cosine an utterance.

After STSim in arXiv 2506.12537 (Table 4): cosine between the means of the backbone's last hidden
states over the positions of text and over those of speech. Means of hidden states are alike
whatever they are of, so the same speech with the text of another utterance is the control. A text
track has no positions of its own: its text is the mean of what the track's encoder says.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean
from vocalmtp.models.batch import PositionKind
from vocalmtp.models.prompts import Segment
from vocalmtp.models.speech_lm import SpeechLM

BATCH = 8


@torch.inference_mode()
def text_speech_similarity(
    model: SpeechLM, rows: Sequence[list[Segment]]
) -> tuple[Estimate, Estimate]:
    """Mean cosine of text and speech of `rows`, and that of speech with the next row's text.

    `rows` are whole utterances as the model trains on them.
    """
    collate = model.collator()
    texts, speeches = [], []
    for start in range(0, len(rows), BATCH):
        batch = collate(rows[start : start + BATCH], left=True).to(model.device)
        _, hidden, state = model.prefill(batch)  # [B, L, D]
        if model.config.text == "track":
            place = torch.arange(state.encoded_text.shape[1], device=model.device)
            texts.append(_mean(state.encoded_text, place < batch.character_lengths[:, None]))
        else:
            texts.append(_mean(hidden, batch.kinds == PositionKind.TEXT))
        speeches.append(_mean(hidden, batch.kinds == PositionKind.SPEECH))
    text, speech = torch.cat(texts), torch.cat(speeches)  # [N, D]
    own = F.cosine_similarity(text, speech, dim=-1)
    other = F.cosine_similarity(text.roll(1, 0), speech, dim=-1)
    return bootstrap_mean(own.tolist()), bootstrap_mean(other.tolist())


def _mean(states: Tensor, chosen: Tensor) -> Tensor:
    """Mean of `states` [B, L, D] where `chosen` [B, L]: [B, D]."""
    weight = chosen[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)
