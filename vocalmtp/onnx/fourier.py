"""Fourier transforms of windows as products with cosines and sines: ONNX has no complex numbers.

A transform is that of every fourth sample, from each of the first four on, of a quarter of the bins:
with Y_r that of the samples 4 m + r, bin k + j N/4 is the sum of Y_r[k] times (-i)^(r j). That is a
quarter of the products. So bins are in the order of `split_order`, and samples of a frame are those
of r = 0 first, then those of r = 1, and so on.

Letters: F frames of 10 ms, N samples of a window, E = N/8.
"""

import math

import numpy as np

from vocalmtp.onnx.builder import Graph
from vocalmtp.tokenizers.neural.vocoder import SourceFilterVocoder

END = np.iinfo(np.int64).max
RADIX = 4  # transforms that one is made of


def split_order(bins: int) -> np.ndarray:
    """The order of bins: 0 to E; N/2 down to N/2 - E; N/4 to N/4 + E - 1; N/4 - 1 down to E + 1."""
    quarter = (bins - 1) // 2
    end = quarter // 2
    k = np.arange(end + 1)
    return np.concatenate([k, 2 * quarter - k, quarter + k[:-1], quarter - k[1:-1]])


def quarter_transforms(graph: Graph, hann: np.ndarray) -> list[str]:
    """Windowed transforms of the samples 4 m + r to bins 0 to E, [N / 4, 2 (E + 1)] for every r.

    They are made when a session begins.
    """
    window = len(hann)
    zero, one, four = (graph.constant(value, np.int64) for value in (0, 1, RADIX))
    end, last = (graph.constant(value, np.int64) for value in (window, window // 8 + 1))
    bins, made = graph.op("Range", zero, last, one), []
    for r in range(RADIX):
        start = graph.constant(r, np.int64)
        times = graph.op("Unsqueeze", graph.op("Range", start, end, four), graph.integers(1))
        turns = graph.op("Mod", graph.op("Mul", times, bins), graph.integers(window))
        angles = graph.op("Mul", graph.cast(turns, "FLOAT"), graph.constant(math.tau / window))
        waves = [graph.op("Cos", angles), graph.op("Neg", graph.op("Sin", angles))]
        shape = graph.constant(hann[r::RADIX, None])
        made.append(graph.op("Mul", graph.concat(waves, 1), shape))
    return made


def by_remainder(graph: Graph, rows: str, hop: int) -> str:
    """Reorder rows [.., hop] so that the samples 4 m of each come first, then those 4 m + 1, .."""
    groups = graph.op("Transpose", graph.reshape(rows, -1, hop // RADIX, RADIX), perm=[0, 2, 1])
    return graph.reshape(groups, -1, hop)


def in_time(graph: Graph, rows: str, hop: int) -> str:
    """Samples [R hop] of rows [R, hop] in the order of `by_remainder`."""
    groups = graph.op("Transpose", graph.reshape(rows, -1, RADIX, hop // RADIX), perm=[0, 2, 1])
    return graph.reshape(groups, -1)


def spectra(
    graph: Graph, samples: str, transforms: list[str], window: int, hop: int
) -> tuple[str, str]:
    """Transform windows at steps of `hop` of samples [F hop + N - hop]: real, imaginary [F, bins]."""
    rows, ratio, width = by_remainder(graph, samples, hop), window // hop, window // 8 + 1
    parts = [graph.slice(rows, i, i + 1 - ratio or END, 0) for i in range(ratio)]
    groups = [graph.split(part, [hop // RADIX] * RADIX, 1) for part in parts]
    quarters = [graph.concat(own, 1) for own in zip(*groups, strict=True)]  # [F, N / 4] each
    y = [
        graph.op("MatMul", x, matrix) for x, matrix in zip(quarters, transforms, strict=True)
    ]  # [F, 2 (E + 1)] each
    even, odd = graph.op("Add", y[0], y[2]), graph.op("Add", y[1], y[3])
    low, high = graph.op("Add", even, odd), graph.op("Sub", even, odd)
    first, second = graph.op("Sub", y[0], y[2]), graph.op("Sub", y[1], y[3])
    low, high, first, second = (graph.split(x, [width] * 2, 1) for x in (low, high, first, second))
    real = [low[0], high[0], graph.op("Add", first[0], second[1])]
    real.append(graph.op("Sub", first[0], second[1]))
    imaginary = [low[1], graph.op("Neg", high[1]), graph.op("Sub", first[1], second[0])]
    imaginary.append(graph.op("Neg", graph.op("Add", first[1], second[0])))
    for own in (real, imaginary):
        own[2], own[3] = graph.slice(own[2], 0, -1, 1), graph.slice(own[3], 1, -1, 1)
    return graph.concat(real, 1), graph.concat(imaginary, 1)


def windowed_blocks(
    graph: Graph, parts: list[str], transforms: list[str], vocoder: SourceFilterVocoder
) -> str:
    """Transform real and imaginary parts [F, bins] back to windowed blocks [F, N]."""
    width, hop = vocoder.window // 8 + 1, vocoder.hop
    sizes = [width, width, width - 1, width - 2]
    real, imaginary = (graph.split(x, sizes, 1) for x in parts)
    for own in (real, imaginary):
        own[2] = graph.op("Pad", own[2], graph.integers(0, 0, 0, 1))
        own[3] = graph.op("Pad", own[3], graph.integers(0, 1, 0, 1))

    def both(kinds: tuple[str, str], x: tuple[str, str], y: tuple[str, str]) -> str:
        pairs = zip(kinds, x, y, strict=True)
        return graph.concat([graph.op(kind, a, b) for kind, a, b in pairs], 1)

    a, b, c, d = zip(real, imaginary, strict=True)
    once = np.ones(2 * width)
    once[0] = 1 / 2  # bins 0 and N/2, which have no conjugate
    even, odd = (
        graph.op("Mul", x, graph.constant(once))
        for x in (both(("Add", "Sub"), a, b), both(("Sub", "Add"), a, b))
    )
    straight = both(("Add", "Sub"), c, d)
    turned = graph.concat(
        [graph.op("Add", c[1], d[1]), graph.op("Sub", d[0], c[0])], 1
    )  # minus what it adds
    sums = [
        graph.op("Add", even, straight),
        graph.op("Sub", odd, turned),
        graph.op("Sub", even, straight),
        graph.op("Add", odd, turned),
    ]
    scale = 2 / vocoder.window / vocoder.overlap_gain
    quarters = [
        graph.op("Gemm", own, matrix, transB=1, alpha=scale)
        for own, matrix in zip(sums, transforms, strict=True)
    ]
    pieces = [graph.split(x, [hop // RADIX] * (vocoder.window // hop), 1) for x in quarters]
    return graph.concat([x for group in zip(*pieces, strict=True) for x in group], 1)
