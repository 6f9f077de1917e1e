"""The graphs of the trainable tokenizer's decoder, whose state goes in and comes out.

One utterance is decoded at a time. Fourier transforms are those of fourier.py; everything else is as in
tokenizers/neural/{model, vocoder}.py.

Letters: T codec frames, F frames of 10 ms, C channels, Q streams of d digits, N samples of a window.
"""

import math

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.onnx.builder import Graph, Weights
from vocalmtp.onnx.fourier import (
    RADIX,
    by_remainder,
    in_time,
    quarter_transforms,
    spectra,
    split_order,
    windowed_blocks,
)
from vocalmtp.tokenizers.neural.features import FRAMES_PER_SECOND, MIDDLE_PITCH
from vocalmtp.tokenizers.neural.model import NeuralTokenizerConfig
from vocalmtp.tokenizers.neural.vocoder import NOISE_FRAMES, SourceFilterVocoder, noise_samples

STACKS: dict[
    str, tuple[int | str, int]
] = {  # layers and kernel of the decoder's stacks, see Decoder
    "pitch": (2, 3),
    "slow": ("decoder_layers", 5),
    "fast": ("frame_layers", 7),
}
END = np.iinfo(np.int64).max
LEAST_GELU = -0.1701  # below which GELU, by tanh, has no value


def check_exportable(config: NeuralTokenizerConfig, what: str) -> None:
    """Check that windows can be divided into `RADIX` parts. Raises InputError (`unsupported`)."""
    if config.sample_rate % (RADIX * FRAMES_PER_SECOND):
        raise InputError(
            f"{what}: cannot be exported to ONNX: the sample rate of its tokenizer, "
            f"{config.sample_rate}, is no multiple of {RADIX * FRAMES_PER_SECOND}; use an engine of "
            "torch",
            code="unsupported",
        )


def frames_graph(config: NeuralTokenizerConfig, weights: Weights, int8: bool = False) -> Graph:
    """Build codes [T, Q] to what the frames of 10 ms are made of: vectors [F, C] and log F0 [F].

    Frames whose `present` [T, 1] is 0 are look-ahead without codes. With `int8`, the products of the
    stack of the content are of 8 bits.
    """
    graph, digits = Graph("frames", weights), len(config.all_levels[-1])
    codes = graph.input("codes", "INT64", ["T", config.content_streams + 1])
    present = graph.input("present", "FLOAT", ["T", 1])
    speaker = graph.input("speaker", "FLOAT", [1, config.speaker_dim])
    values = graph.op("Mul", _values(graph, config, codes), present)  # [T, Q d]
    end = config.latent_size
    prosody = graph.cast(graph.slice(values, end - digits, end, 1), "DOUBLE")
    x = graph.linear(prosody, "decoder.pitch_in", kind="DOUBLE")
    x = _stack(graph, config, "pitch", x, None, int8=False)
    relative = graph.reshape(graph.linear(x, "decoder.pitch_out", kind="DOUBLE"), -1)  # [F]
    relative = graph.op("Div", relative, graph.constant(4, np.float64))
    height = graph.linear(graph.cast(speaker, "DOUBLE"), "decoder.pitch_speaker", kind="DOUBLE")
    log_f0 = graph.op("Add", graph.reshape(height, 1), relative)
    log_f0 = graph.op("Clip", log_f0, *(graph.constant(x, np.float64) for x in config.pitch_limits))
    x = graph.op("Gelu", graph.linear(values, "decoder.slow_in.0"))
    x = _stack(graph, config, "slow", graph.linear(x, "decoder.slow_in.2"), speaker, int8)
    vectors = graph.reshape(graph.linear(x, "decoder.fast_in"), -1, config.frame_dim)
    graph.output("vectors", vectors, "FLOAT", ["F", config.frame_dim])
    graph.output("log_f0", log_f0, "DOUBLE", ["F"])
    return graph


def samples_graph(config: NeuralTokenizerConfig, weights: Weights, int8: bool = False) -> Graph:
    """Build vectors [F, C] and log F0 [F] to samples [F hop].

    `source` is the log F0 of the pulses: that of the frames, and before the first of an utterance
    as many more as fill a window. With `int8`, the products of the stack are of 8 bits; that of the
    filters stays in floats, where rounding is heard most.
    """
    graph, vocoder = Graph("samples", weights), SourceFilterVocoder(config.sample_rate)
    vectors = graph.input("vectors", "FLOAT", ["F", config.frame_dim])
    log_f0 = graph.input("log_f0", "DOUBLE", ["F"])
    speaker = graph.input("speaker", "FLOAT", [1, config.speaker_dim])
    height = graph.op("Sub", graph.cast(log_f0, "FLOAT"), graph.constant(MIDDLE_PITCH))
    height = graph.reshape(height, -1, 1)
    both = graph.concat([height, graph.op("Mul", height, height)], 1)
    x = graph.op("Add", vectors, graph.linear(both, "decoder.pitch_embedding"))
    x = graph.layer_norm(_stack(graph, config, "fast", x, speaker, int8), "decoder.norm")
    bins = np.concatenate([part * vocoder.bins + split_order(vocoder.bins) for part in range(3)])
    weight, bias = (
        graph.op("Gather", graph.weight(f"decoder.out.{end}"), graph.integers(*bins))
        for end in ("weight", "bias")
    )
    filters = graph.op("Gemm", x, weight, bias, transB=1)  # [F, 3 bins]
    _vocoder(graph, vocoder, filters)
    return graph


def _values(graph: Graph, config: NeuralTokenizerConfig, codes: str) -> str:
    """Quantised values [T, Q d] of codes [T, Q]."""
    streams = config.content_streams + 1
    if config.kind == "decoupled":
        own = zip(graph.split(codes, [1] * streams, 1), config.all_levels, strict=True)
        return graph.concat(
            [graph.reshape(_digits(graph, part, levels), -1, len(levels)) for part, levels in own],
            1,
        )
    values = _digits(graph, codes, config.levels)
    parts = [
        graph.op("Squeeze", part, graph.integers(1))
        for part in graph.split(graph.cast(values, "DOUBLE"), [1] * streams, 1)
    ]
    up = [f"encoder.quantizer.up.{q}" for q in range(streams)]
    products = [graph.linear(x, name, kind="DOUBLE") for x, name in zip(parts, up, strict=True)]
    return graph.cast(graph.sum(*products), "FLOAT")


def _digits(graph: Graph, codes: str, levels: tuple[int, ...]) -> str:
    """The digits of codes [T, Q], in [-1, 1]: [T, Q, d]."""
    sizes = np.array(levels)
    radix = np.concatenate([[1], np.cumprod(sizes)[:-1]])
    wide = graph.op("Unsqueeze", codes, graph.integers(2))
    digits = graph.op("Mod", graph.op("Div", wide, graph.integers(*radix)), graph.integers(*sizes))
    doubled = graph.op("Mul", graph.cast(digits, "FLOAT"), graph.constant(2))
    scaled = graph.op("Div", doubled, graph.constant(sizes - 1))
    return graph.op("Sub", scaled, graph.constant(1))


def _stack(
    graph: Graph, config: NeuralTokenizerConfig, name: str, x: str, speaker: str | None, int8: bool
) -> str:
    """Causal ConvNeXt blocks over [T, C], which carry their last inputs from call to call."""
    layers, kernel = STACKS[name]
    kind = "DOUBLE" if name == "pitch" else "FLOAT"
    for number in range(layers if isinstance(layers, int) else getattr(config, layers)):
        part = f"decoder.{name}.blocks.{number}"
        channels = graph.weights.shape(f"{part}.scale")[0]
        own = f"{name}.{number}"
        past = graph.input(own, kind, [kernel - 1, channels])
        longer = graph.concat([past, x], 0)
        graph.output(
            f"new_{own}", graph.slice(longer, 1 - kernel, END, 0), kind, [kernel - 1, channels]
        )
        mixed = _convolve if kind == "FLOAT" else _convolve_in_taps
        y = mixed(graph, longer, part, kernel)
        if speaker is None:
            y = graph.layer_norm(y, f"{part}.norm", kind)
        else:
            y = _speaker_norm(graph, y, part, speaker, channels)
        if int8:
            y = graph.op("Gelu", graph.rounded_linear(y, f"{part}.up"), approximate="tanh")
            y = graph.rounded_linear(y, f"{part}.down", least=LEAST_GELU)
        else:
            y = _gelu_tanh(graph, graph.linear(y, f"{part}.up", kind=kind), kind)
            y = graph.linear(y, f"{part}.down", kind=kind)
        x = graph.op("Add", x, graph.op("Mul", graph.weight(f"{part}.scale", kind), y))
    return x


def _speaker_norm(graph: Graph, x: str, part: str, speaker: str, channels: int) -> str:
    """Normalize [T, C] with the scale and the bias that a speaker changes, as one node."""
    scale, bias = (graph.weight(f"{part}.norm.{end}") for end in ("weight", "bias"))
    film = graph.reshape(graph.linear(speaker, f"{part}.film"), -1)
    gain, added = graph.split(film, [channels] * 2, 0)
    gain = graph.op("Add", gain, graph.constant(1))
    bias = graph.op("Add", graph.op("Mul", bias, gain), added)
    return str(graph.op("LayerNormalization", x, graph.op("Mul", scale, gain), bias, epsilon=1e-5))


def _convolve(graph: Graph, x: str, part: str, kernel: int) -> str:
    """Depthwise convolution of [T + kernel - 1, C] without padding: [T, C].

    It has two dimensions, one of size 1, since onnxruntime has a fast kernel for that case.
    """
    weight, bias = (graph.weight(f"{part}.mix.conv.{end}") for end in ("weight", "bias"))
    weight = graph.op("Unsqueeze", weight, graph.integers(2))  # [C, 1, 1, kernel]
    turned = graph.op("Unsqueeze", x, graph.integers(0, 1))
    turned = graph.op("Transpose", turned, perm=[0, 3, 1, 2])  # [1, C, 1, T + kernel - 1]
    channels = graph.weights.shape(f"{part}.scale")[0]
    mixed = graph.op("Conv", turned, weight, bias, group=channels, kernel_shape=[1, kernel])
    return str(
        graph.op("Squeeze", graph.op("Transpose", mixed, perm=[0, 2, 3, 1]), graph.integers(0, 1))
    )


def _convolve_in_taps(graph: Graph, x: str, part: str, kernel: int) -> str:
    """Depthwise convolution as `_convolve`, in float64, for which ONNX has no operator."""
    taps = graph.weight(f"{part}.mix.conv.weight", "DOUBLE")  # [C, 1, kernel]
    taps = graph.op("Transpose", taps, perm=[2, 1, 0])  # [kernel, 1, C]
    total = graph.weight(f"{part}.mix.conv.bias", "DOUBLE")
    for tap in range(kernel):
        shifted = graph.slice(x, tap, tap - kernel + 1 or END, 0)
        own = graph.op("Squeeze", graph.slice(taps, tap, tap + 1, 0), graph.integers(0))
        total = graph.op("Add", total, graph.op("Mul", shifted, own))
    return total


def _gelu_tanh(graph: Graph, x: str, kind: str) -> str:
    if kind == "FLOAT":
        return str(graph.op("Gelu", x, approximate="tanh"))

    def number(value: float) -> str:
        return graph.constant(value, np.float64)

    cubed = graph.op("Mul", graph.op("Mul", x, x), x)
    inner = graph.op("Add", x, graph.op("Mul", cubed, number(0.044715)))
    bent = graph.op("Tanh", graph.op("Mul", inner, number(math.sqrt(2 / math.pi))))
    half = graph.op("Mul", x, number(0.5))
    return str(graph.op("Mul", half, graph.op("Add", bent, number(1))))


def _vocoder(graph: Graph, vocoder: SourceFilterVocoder, filters: str) -> None:
    """Pulses and noise through `filters` [F, 3 bins], overlap-added to the output `samples`."""
    window, hop, bins = vocoder.window, vocoder.hop, vocoder.bins
    keep = window - hop
    transforms = quarter_transforms(graph, vocoder.hann.numpy())
    pulses = graph.concat([graph.input("pulses", "FLOAT", ["R"]), _pulses(graph, vocoder)], 0)
    graph.output("new_pulses", graph.slice(pulses, -keep, END, 0), "FLOAT", [keep])
    source = spectra(graph, pulses, transforms, window, hop)
    noise = graph.constant(noise_samples(window, hop).numpy())
    noise = graph.concat(spectra(graph, noise, transforms, window, hop), 1)
    frame = graph.input("frame", "INT64", [1])
    count = graph.op("Squeeze", graph.slice(graph.op("Shape", filters), 0, 1, 0))
    zero, one = (graph.constant(value, np.int64) for value in (0, 1))
    places = graph.op("Add", graph.op("Range", zero, count, one), frame)
    places = graph.op("Mod", places, graph.integers(NOISE_FRAMES))
    noises = graph.split(graph.op("Gather", noise, places), [bins] * 2, 1)
    gain, phase, noise_gain = graph.split(filters, [bins] * 3, 1)
    gain, noise_gain = (_exp_up_to(graph, x, 6) for x in (gain, noise_gain))
    real = graph.op("Mul", gain, graph.op("Cos", phase))
    imaginary = graph.op("Mul", gain, graph.op("Sin", phase))
    spectrum = [
        graph.op(
            "Sub", *(graph.op("Mul", x, y) for x, y in zip(source, (real, imaginary), strict=True))
        ),
        graph.op("Add", graph.op("Mul", source[0], imaginary), graph.op("Mul", source[1], real)),
    ]
    mixed = [
        graph.op("Add", x, graph.op("Mul", y, noise_gain))
        for x, y in zip(spectrum, noises, strict=True)
    ]
    _overlap_add(graph, windowed_blocks(graph, mixed, transforms, vocoder), window // hop, hop)


def _exp_up_to(graph: Graph, x: str, most: float) -> str:
    return str(graph.op("Exp", graph.op("Min", x, graph.constant(most))))


def _overlap_add(graph: Graph, blocks: str, ratio: int, hop: int) -> None:
    """Sum blocks [F, N] at steps of `hop`: outputs `samples` [F hop], and a `tail` not yet final.

    Every `hop` samples of a block are in the order of `by_remainder`.
    """
    shifted = [
        graph.op("Pad", part, graph.integers(i, 0, ratio - 1 - i, 0))
        for i, part in enumerate(graph.split(blocks, [hop] * ratio, 1))
    ]
    rows, end = graph.sum(*shifted), ratio - 1  # [F + 3, hop]
    tail = by_remainder(graph, graph.input("tail", "FLOAT", [end * hop]), hop)
    first = graph.op("Add", graph.slice(rows, 0, end, 0), tail)
    rows = graph.concat([first, graph.slice(rows, end, END, 0)], 0)
    samples = in_time(graph, graph.slice(rows, 0, -end, 0), hop)
    graph.output("samples", samples, "FLOAT", ["N"])
    tail = in_time(graph, graph.slice(rows, -end, END, 0), hop)
    graph.output("new_tail", tail, "FLOAT", [end * hop])


def _pulses(graph: Graph, vocoder: SourceFilterVocoder) -> str:
    """Pulses at the F0 of the input `source` [S], after that of `last_f0`: samples [S hop].

    All harmonics below Nyquist, as in SourceFilterVocoder.
    """

    def number(value: float, dtype: type = np.float64) -> str:
        return graph.constant(value, dtype)

    source = graph.input("source", "DOUBLE", ["S"])
    ends = graph.concat([graph.input("last_f0", "DOUBLE", [1]), source], 0)
    graph.output("new_last_f0", graph.slice(ends, -1, END, 0), "DOUBLE", [1])
    begins = graph.slice(ends, 0, -1, 0)
    slope = graph.reshape(graph.op("Sub", source, begins), -1, 1)
    ramp = graph.constant(np.arange(1, vocoder.hop + 1) / vocoder.hop, np.float64)
    height = graph.op("Add", graph.reshape(begins, -1, 1), graph.op("Mul", slope, ramp))
    f0 = graph.op("Exp", graph.reshape(height, -1))  # [S hop] Hz
    turns = graph.op("Div", f0, number(vocoder.sample_rate))
    turns = graph.op("CumSum", turns, graph.constant(0, np.int64))
    turns = graph.op("Add", graph.input("phase", "DOUBLE", [1]), turns)
    turns = graph.op("Sub", turns, graph.op("Floor", turns))
    graph.output("new_phase", graph.slice(turns, -1, END, 0), "DOUBLE", [1])
    angle = graph.op("Mul", graph.cast(turns, "FLOAT"), number(math.tau, np.float32))
    angle = graph.op("Sub", angle, number(math.pi, np.float32))
    small = number(1e-4, np.float32)
    angle = graph.op("Where", graph.op("Less", graph.op("Abs", angle), small), small, angle)
    count = graph.cast(graph.op("Div", number(vocoder.sample_rate / 2), f0), "FLOAT")
    whole, half = graph.op("Floor", count), number(0.5, np.float32)
    above = graph.op("Sin", graph.op("Mul", graph.op("Add", whole, half), angle))
    below = graph.op("Sin", graph.op("Mul", angle, half))
    train = graph.op("Div", above, graph.op("Mul", below, number(2, np.float32)))
    train = graph.op("Sub", train, half)
    following = graph.op("Mul", graph.op("Add", whole, number(1, np.float32)), angle)
    fading = graph.op("Mul", graph.op("Sub", count, whole), graph.op("Cos", following))
    power = graph.op("Sqrt", graph.op("Div", number(2, np.float32), count))
    return str(graph.op("Mul", graph.op("Add", train, fading), power))
