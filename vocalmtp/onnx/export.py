"""Export of a model folder to ONNX graphs, which refer to the weights that are in it."""

from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.models.checkpoint import FORMER_WEIGHTS
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.onnx import codec_graphs, lm_graphs
from vocalmtp.onnx.builder import Graph, Weights
from vocalmtp.onnx.manifest import EXACT, OnnxManifest, graph_end, header_digest
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.neural import LOOKAHEAD, NeuralTokenizer
from vocalmtp.tokenizers.neural.model import NeuralTokenizerConfig


def export_onnx(folder: Path) -> list[Path]:
    """Write the graphs of a model's parts, and their manifest, into its folder.

    Args:
        folder: of the model, as `vocalmtp export` writes it. Its weights are not copied: the graphs
            need them where they are.

    Returns:
        The files that were written.

    Raises:
        InputError: there is no graph for some part of the model (`unsupported`), or the folder is
            damaged.

    """
    what = f"model '{folder}'"
    config = SpeechLMConfig.load(folder)
    lm_graphs.check_exportable(config, what)
    tokenizer: Any = load_tokenizer(folder / "tokenizer")
    if not isinstance(tokenizer, NeuralTokenizer):
        raise InputError(
            f"{what}: cannot be exported to ONNX: its tokenizer is "
            f"'{tokenizer.spec.name}', not one that vocalmtp trained; use an engine of torch",
            code="unsupported",
        )
    codec_graphs.check_exportable(tokenizer.config, what)
    graphs = _graphs(folder, config, tokenizer.config)
    manifest = OnnxManifest(
        layout=config.layout,
        text=config.text,
        template=config.template,
        alphabet=config.alphabet,
        phones=config.phones,
        tokenizer=config.tokenizer,
        codec=tokenizer.spec,
        decoupled=tokenizer.decoder.decoupled,
        delay=tokenizer.decoder.vocoder.delay,
        lookahead=LOOKAHEAD,
        speaker_dim=config.speaker_dim,
        speaker_every_step=config.speaker_every_step,
        layers=config.backbone["num_hidden_layers"],
        weights={
            str(file.relative_to(folder)): header_digest(file, what)
            for place in (folder, folder / "tokenizer")
            for file in sorted(place.glob("*.safetensors"))
        },
    )
    for name, graph in graphs.items():
        with atomic_path(folder / name) as partial:
            graph.save(partial)
    manifest.save(folder)
    return [folder / name for name in graphs]


def _graphs(folder: Path, config: SpeechLMConfig, codec: NeuralTokenizerConfig) -> dict[str, Graph]:
    """The graphs of a speech LM and its tokenizer, by the names of their files."""
    weights = Weights(folder, FORMER_WEIGHTS)
    quantized = Graph("quantized", weights)
    quantized.check_products(EXACT)
    graphs: dict[str, Graph] = {
        "prompt.onnx": lm_graphs.prompt_graph(config, weights),
        "step.onnx": lm_graphs.step_graph(config, weights),
        "step.int8.onnx": lm_graphs.step_graph(config, weights, quantized),
        "lm.onnx": lm_graphs.lm_graph(config, weights),
        "lm.int8.onnx": lm_graphs.lm_graph(config, weights, quantized),
        "quantized.onnx": quantized,
    }
    for int8 in (False, True) if config.has_text_track else ():
        graphs[f"text{graph_end(int8)}"] = lm_graphs.text_graph(config, weights, int8)
    own = Weights(folder / "tokenizer")
    for int8 in (False, True):
        end = graph_end(int8)
        graphs[f"tokenizer/frames{end}"] = codec_graphs.frames_graph(codec, own, int8)
        graphs[f"tokenizer/samples{end}"] = codec_graphs.samples_graph(codec, own, int8)
    return graphs
