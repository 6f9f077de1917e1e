"""The graphs of the trainable tokenizer's decoder, whose state goes in and comes out.

ONNX has no complex numbers, so that Fourier transforms are products with cosines and sines here; one
utterance is decoded at a time. Everything else is as in tokenizers/neural/{model, vocoder}.py.

A transform is that of the even samples and that of the odd ones, of half as many bins each: the sum
of both is bin k, the conjugate of their difference is bin N/2 - k. That is half as many products, and
so bins are in the order of `split_order`, and samples of a frame the even ones first.

Letters: T codec frames, F frames of 10 ms, C channels, Q streams of d digits, N samples of a window,
H = N/4.
"""

import math

import numpy as np

from vocalmtp.onnx.builder import Graph, Weights
from vocalmtp.tokenizers.neural.features import MIDDLE_PITCH
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


def frames_graph(config: NeuralTokenizerConfig, weights: Weights) -> Graph:
    """Build codes [T, Q] to what the frames of 10 ms are made of: vectors [F, C] and log F0 [F].

    Frames whose `present` [T, 1] is 0 are look-ahead without codes.
    """
    graph, digits = Graph("frames", weights), len(config.all_levels[-1])
    codes = graph.input("codes", "INT64", ["T", config.content_streams + 1])
    present = graph.input("present", "FLOAT", ["T", 1])
    speaker = graph.input("speaker", "FLOAT", [1, config.speaker_dim])
    values = graph.op("Mul", _values(graph, config, codes), present)  # [T, Q d]
    end = config.latent_size
    prosody = graph.cast(graph.slice(values, end - digits, end, 1), "DOUBLE")
    x = graph.linear(prosody, "decoder.pitch_in", kind="DOUBLE")
    x = _stack(graph, config, "pitch", x, None)
    relative = graph.reshape(graph.linear(x, "decoder.pitch_out", kind="DOUBLE"), -1)  # [F]
    relative = graph.op("Div", relative, graph.constant(4, np.float64))
    height = graph.linear(graph.cast(speaker, "DOUBLE"), "decoder.pitch_speaker", kind="DOUBLE")
    log_f0 = graph.op("Add", graph.reshape(height, 1), relative)
    log_f0 = graph.op("Clip", log_f0, *(graph.constant(x, np.float64) for x in config.pitch_limits))
    x = graph.op("Gelu", graph.linear(values, "decoder.slow_in.0"))
    x = _stack(graph, config, "slow", graph.linear(x, "decoder.slow_in.2"), speaker)
    vectors = graph.reshape(graph.linear(x, "decoder.fast_in"), -1, config.frame_dim)
    graph.output("vectors", vectors, "FLOAT", ["F", config.frame_dim])
    graph.output("log_f0", log_f0, "DOUBLE", ["F"])
    return graph


def samples_graph(config: NeuralTokenizerConfig, weights: Weights) -> Graph:
    """Build vectors [F, C] and log F0 [F] to samples [F hop].

    `source` is the log F0 of the pulses: that of the frames, and before the first of an utterance
    as many more as fill a window.
    """
    graph, vocoder = Graph("samples", weights), SourceFilterVocoder(config.sample_rate)
    vectors = graph.input("vectors", "FLOAT", ["F", config.frame_dim])
    log_f0 = graph.input("log_f0", "DOUBLE", ["F"])
    speaker = graph.input("speaker", "FLOAT", [1, config.speaker_dim])
    height = graph.op("Sub", graph.cast(log_f0, "FLOAT"), graph.constant(MIDDLE_PITCH))
    height = graph.reshape(height, -1, 1)
    both = graph.concat([height, graph.op("Mul", height, height)], 1)
    x = graph.op("Add", vectors, graph.linear(both, "decoder.pitch_embedding"))
    x = graph.layer_norm(_stack(graph, config, "fast", x, speaker), "decoder.norm")
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
    graph: Graph, config: NeuralTokenizerConfig, name: str, x: str, speaker: str | None
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
        y = graph.layer_norm(_convolve(graph, longer, part, kernel, kind), f"{part}.norm", kind)
        if speaker is not None:
            gain, bias = graph.split(graph.linear(speaker, f"{part}.film"), [channels] * 2, 1)
            one = graph.constant(1)
            y = graph.op("Add", graph.op("Mul", y, graph.op("Add", gain, one)), bias)
        y = _gelu_tanh(graph, graph.linear(y, f"{part}.up", kind=kind), kind)
        y = graph.linear(y, f"{part}.down", kind=kind)
        x = graph.op("Add", x, graph.op("Mul", graph.weight(f"{part}.scale", kind), y))
    return x


def _convolve(graph: Graph, x: str, part: str, kernel: int, kind: str) -> str:
    """Depthwise convolution of [T + kernel - 1, C] without padding: [T, C]."""
    taps = graph.weight(f"{part}.mix.conv.weight", kind)  # [C, 1, kernel]
    taps = graph.op("Transpose", taps, perm=[2, 1, 0])  # [kernel, 1, C]
    total = graph.weight(f"{part}.mix.conv.bias", kind)
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
    transforms = _half_transforms(graph, vocoder.hann.numpy())
    pulses = graph.concat([graph.input("pulses", "FLOAT", ["R"]), _pulses(graph, vocoder)], 0)
    graph.output("new_pulses", graph.slice(pulses, -keep, END, 0), "FLOAT", [keep])
    source = _spectra(graph, pulses, transforms, window, hop)
    noise = graph.constant(noise_samples(window, hop).numpy())
    noise = graph.concat(_spectra(graph, noise, transforms, window, hop), 1)
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
    _overlap_add(graph, _blocks(graph, mixed, transforms, vocoder), window // hop, hop)


def _exp_up_to(graph: Graph, x: str, most: float) -> str:
    return str(graph.op("Exp", graph.op("Min", x, graph.constant(most))))


def split_order(bins: int) -> np.ndarray:
    """The order of bins: 0 to H, then N/2 down to H + 1."""
    half = bins // 2
    return np.concatenate([np.arange(half + 1), np.arange(bins - 1, half, -1)])


def _half_transforms(graph: Graph, hann: np.ndarray) -> list[str]:
    """Windowed transforms of the even and of the odd samples to bins 0 to H, [N / 2, 2 (H + 1)] each.

    They are made when a session begins.
    """
    window = len(hann)
    zero, one, two = (graph.constant(value, np.int64) for value in (0, 1, 2))
    end, last = (graph.constant(value, np.int64) for value in (window, window // 4 + 1))
    bins, made = graph.op("Range", zero, last, one), []
    for start in (zero, one):
        times = graph.op("Unsqueeze", graph.op("Range", start, end, two), graph.integers(1))
        turns = graph.op("Mod", graph.op("Mul", times, bins), graph.integers(window))
        angles = graph.op("Mul", graph.cast(turns, "FLOAT"), graph.constant(math.tau / window))
        waves = [graph.op("Cos", angles), graph.op("Neg", graph.op("Sin", angles))]
        shape = graph.constant(hann[start is one :: 2, None])
        made.append(graph.op("Mul", graph.concat(waves, 1), shape))
    return made


def _even_first(graph: Graph, rows: str, hop: int) -> str:
    """Reorder rows [.., hop] so that the even samples of each come first."""
    pairs = graph.op("Transpose", graph.reshape(rows, -1, hop // 2, 2), perm=[0, 2, 1])
    return graph.reshape(pairs, -1, hop)


def _in_time(graph: Graph, rows: str, hop: int) -> str:
    """Samples [R hop] of rows [R, hop] whose even samples come first."""
    pairs = graph.op("Transpose", graph.reshape(rows, -1, 2, hop // 2), perm=[0, 2, 1])
    return graph.reshape(pairs, -1)


def _spectra(
    graph: Graph, samples: str, transforms: list[str], window: int, hop: int
) -> tuple[str, str]:
    """Transform windows at steps of `hop` of samples [F hop + N - hop]: real, imaginary [F, bins]."""
    rows, ratio, half = _even_first(graph, samples, hop), window // hop, window // 4 + 1
    parts = [graph.slice(rows, i, i + 1 - ratio or END, 0) for i in range(ratio)]
    pairs = [graph.split(part, [hop // 2] * 2, 1) for part in parts]
    halves = [graph.concat(own, 1) for own in zip(*pairs, strict=True)]  # [F, N / 2] each
    even, odd = (
        graph.split(graph.op("MatMul", x, matrix), [half] * 2, 1)
        for x, matrix in zip(halves, transforms, strict=True)
    )
    low = [graph.op("Add", x, y) for x, y in zip(even, odd, strict=True)]
    high = [graph.op("Sub", even[0], odd[0]), graph.op("Sub", odd[1], even[1])]
    high = [graph.slice(x, 0, half - 1, 1) for x in high]
    real, imaginary = (graph.concat([x, y], 1) for x, y in zip(low, high, strict=True))
    return real, imaginary


def _blocks(
    graph: Graph, spectra: list[str], transforms: list[str], vocoder: SourceFilterVocoder
) -> str:
    """Transform real and imaginary parts [F, bins] back to windowed blocks [F, N]."""
    half, hop = vocoder.window // 4 + 1, vocoder.hop
    twice = np.full(half, 2 / vocoder.window / vocoder.overlap_gain)
    twice[0] /= 2
    parts = [(graph.slice(x, 0, half, 1), graph.slice(x, half, END, 1)) for x in spectra]
    pad = graph.integers(0, 0, 0, 1)
    (real, real_high), (imaginary, imaginary_high) = (
        (low, graph.op("Pad", high, pad)) for low, high in parts
    )
    sums = [
        (graph.op("Add", real, real_high), graph.op("Sub", imaginary, imaginary_high)),
        (graph.op("Sub", real, real_high), graph.op("Add", imaginary, imaginary_high)),
    ]
    scale = graph.constant(np.tile(twice, 2))
    halves = [
        graph.op("Gemm", graph.op("Mul", graph.concat(own, 1), scale), matrix, transB=1)
        for own, matrix in zip(sums, transforms, strict=True)
    ]
    pieces = [graph.split(x, [hop // 2] * (vocoder.window // hop), 1) for x in halves]
    return graph.concat([x for pair in zip(*pieces, strict=True) for x in pair], 1)


def _overlap_add(graph: Graph, blocks: str, ratio: int, hop: int) -> None:
    """Sum blocks [F, N] at steps of `hop`: outputs `samples` [F hop], and a `tail` not yet final.

    The even samples of every `hop` of a block come first.
    """
    shifted = [
        graph.op("Pad", part, graph.integers(i, 0, ratio - 1 - i, 0))
        for i, part in enumerate(graph.split(blocks, [hop] * ratio, 1))
    ]
    rows, end = graph.sum(*shifted), ratio - 1  # [F + 3, hop]
    tail = _even_first(graph, graph.input("tail", "FLOAT", [end * hop]), hop)
    first = graph.op("Add", graph.slice(rows, 0, end, 0), tail)
    rows = graph.concat([first, graph.slice(rows, end, END, 0)], 0)
    samples = _in_time(graph, graph.slice(rows, 0, -end, 0), hop)
    graph.output("samples", samples, "FLOAT", ["N"])
    tail = _in_time(graph, graph.slice(rows, -end, END, 0), hop)
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
    turns = graph.op("Mod", turns, number(1), fmod=1)
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
