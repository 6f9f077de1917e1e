"""Heads, from one hidden state to the tokens of a step, and draft heads, which predict later steps.

Every other module of this package, and of `draft`, registers a head under its name.
"""

from vocalmtp.heads.base import HEADS, HeadOutput, SlotSampler, SpeechHead, build_head
from vocalmtp.heads.draft.base import DRAFTS, DraftCache, DraftHead, DraftOutput, build_draft

__all__ = [
    "DRAFTS",
    "HEADS",
    "DraftCache",
    "DraftHead",
    "DraftOutput",
    "HeadOutput",
    "SlotSampler",
    "SpeechHead",
    "build_draft",
    "build_head",
]
