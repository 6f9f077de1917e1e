"""Make a speech LM ready to decode on a CPU: joined, in int8, without the layers' overhead."""

from torch import nn

from vocalmtp.engines.linears import Int8Linear, Make, replace_linears
from vocalmtp.engines.llama import LlamaRunner
from vocalmtp.models.speech_lm import SpeechLM


def optimize_for_inference(model: SpeechLM, int8: bool) -> None:
    """Change `model`, in place, for decoding only: it can no longer be trained or saved."""
    make: Make = Int8Linear if int8 else lambda linear: linear
    if LlamaRunner.knows(model.backbone):
        model.runner = LlamaRunner(model.backbone, make)
        model.backbone.model.layers = nn.ModuleList()  # the runner has what it needs of them
    model.head.fuse(make)
    for frames in model.step_sizes[:-1]:
        model.at(frames).head.fuse(make)
    if model.track is not None:
        model.track.fuse(make)
    if model.draft is not None:
        model.draft.fuse(make)
    if int8:
        replace_linears(model, make)
