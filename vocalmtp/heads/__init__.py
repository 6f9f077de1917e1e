"""Heads: from one hidden state to the tokens of a step. Importing this fills the registry."""

from vocalmtp.heads.base import HEADS, Draft, HeadOutput, SpeechHead, build_head
from vocalmtp.heads.depth import DepthHead
from vocalmtp.heads.parallel import ParallelHead

__all__ = [
    "HEADS",
    "DepthHead",
    "Draft",
    "HeadOutput",
    "ParallelHead",
    "SpeechHead",
    "build_head",
]
