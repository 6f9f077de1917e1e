"""Heads: from one hidden state to the tokens of a step, and draft heads: guesses at later steps.

Importing this fills the registries.
"""

from vocalmtp.heads.base import HEADS, HeadOutput, Proposal, SpeechHead, build_head
from vocalmtp.heads.depth import DepthHead
from vocalmtp.heads.draft.base import DRAFTS, DraftCache, DraftHead, DraftOutput, build_draft
from vocalmtp.heads.draft.leap import LeapDraft
from vocalmtp.heads.draft.recursive import RecursiveDraft
from vocalmtp.heads.draft.sequential import SequentialDraft
from vocalmtp.heads.parallel import ParallelHead

__all__ = [
    "DRAFTS",
    "HEADS",
    "DepthHead",
    "Proposal",
    "DraftHead",
    "DraftCache",
    "DraftOutput",
    "HeadOutput",
    "LeapDraft",
    "ParallelHead",
    "RecursiveDraft",
    "SequentialDraft",
    "SpeechHead",
    "build_draft",
    "build_head",
]
