"""Heads: from one hidden state to the tokens of a step, and draft heads: guesses at later steps.

Importing this fills the registries.
"""

from vocalmtp.heads.base import HEADS, Draft, HeadOutput, SpeechHead, build_head
from vocalmtp.heads.depth import DepthHead
from vocalmtp.heads.draft import DRAFTS, DraftHead, DraftMemory, DraftOutput, build_draft
from vocalmtp.heads.leap import LeapDraft
from vocalmtp.heads.parallel import ParallelHead
from vocalmtp.heads.recursive import RecursiveDraft
from vocalmtp.heads.sequential import SequentialDraft

__all__ = [
    "DRAFTS",
    "HEADS",
    "DepthHead",
    "Draft",
    "DraftHead",
    "DraftMemory",
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
