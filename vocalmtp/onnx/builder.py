"""Builds ONNX graphs whose weights are the tensors of a safetensors file, which stays as it is.

A safetensors file is raw tensors behind a header, and an initializer of ONNX may be a range of bytes
of another file. So a graph is some kilobytes beside the weights that torch reads too, and neither a
package nor a page has to hold them twice.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.io.read import read_shapes
from vocalmtp.optional import require

OPSET = 20
BLOCKS = (128, 64, 32)  # weights that share a scale in 8 bits: the more, the faster
MIN_WEIGHTS = 64 * 64  # a smaller product is not worth the conversion of its input
IR_VERSION = 9
CONTRIBUTED = "com.microsoft"  # domain of onnxruntime's own operators
FLOATS = {"F16": "FLOAT16", "F32": "FLOAT", "BF16": "BFLOAT16", "F64": "DOUBLE", "I64": "INT64"}


@dataclass(frozen=True)
class Place:
    """Where a tensor is in a safetensors file."""

    file: str
    offset: int  # in bytes, from the start of the file
    length: int  # in bytes
    dtype: str
    shape: tuple[int, ...]


class Weights:
    """The tensors of the safetensors files of one folder, by name.

    Args:
        folder: of the files.
        former: former names of tensors, as regular expressions with what they are called now.

    Raises:
        InputError: a file is damaged.

    """

    def __init__(self, folder: Path, former: Mapping[str, str] | None = None):
        self.places: dict[str, Place] = {}
        self.folder = folder
        for file in sorted(folder.glob("*.safetensors")):
            read_shapes(file, f"model '{folder}'")  # raises if it is damaged
            for name, place in tensor_places(file).items():
                for pattern, new in (former or {}).items():
                    name = re.sub(pattern, new, name)
                self.places[name] = place

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor. Raises InputError if there is none of this name."""
        if name not in self.places:
            raise InputError(
                f"model '{self.folder}': its weights lack {name}; copy it again", code="damaged"
            )
        return self.places[name].shape


def tensor_places(file: Path) -> dict[str, Place]:
    """Return the places of all tensors of an intact safetensors file."""
    with file.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        header = json.loads(content.read(size))
    header.pop("__metadata__", None)
    places = {}
    for name, facts in header.items():
        begin, end = facts["data_offsets"]
        offset = 8 + size + begin
        places[name] = Place(file.name, offset, end - begin, facts["dtype"], tuple(facts["shape"]))
    return places


class Graph:
    """One graph under construction; every method adds nodes and returns the name of their output.

    Args:
        name: of the graph.
        weights: where `weight` finds tensors.
        quantized: where large weights are rounded to 8 bits (onnxruntime's MatMulNBits): a graph
            that is run once, whose outputs a session of this one then takes as its initializers;
            None: all weights are floats.

    """

    def __init__(self, name: str, weights: Weights, quantized: "Graph | None" = None):
        self.quantized = quantized
        self.onnx = require("onnx")
        self.name, self.weights = name, weights
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    # -- ends and constants --------------------------------------------------------------------

    def input(self, name: str, kind: str, shape: Sequence[int | str]) -> str:
        """Add an input; `kind` is the name of a data type of ONNX."""
        self.inputs.append(self._value(name, kind, shape))
        return name

    def output(self, name: str, value: str, kind: str, shape: Sequence[int | str]) -> None:
        """Make `value` the output `name`, under which alone it is known from then on."""
        maker = next((node for node in self.nodes if value in node.output), None)
        if maker is None:  # an initializer
            self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        else:  # a copy by Identity would cost as much as a small product
            for node in self.nodes:
                for names in (node.input, node.output):
                    names[:] = [name if each == value else each for each in names]
        self.outputs.append(self._value(name, kind, shape))

    def _value(self, name: str, kind: str, shape: Sequence[int | str]) -> Any:
        helper, types = self.onnx.helper, self.onnx.TensorProto
        return helper.make_tensor_value_info(name, getattr(types, kind), list(shape))

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant that is stored in the graph."""
        array = np.asarray(value, dtype)
        name = f"c{len(self.initializers)}"
        self.initializers[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def integers(self, *values: int) -> str:
        """Add an int64 constant [n]."""
        return self.constant(values, np.int64)

    def weight(self, name: str, kind: str = "FLOAT") -> str:
        """Add a tensor of the weights, converted to `kind` when a session begins."""
        self.weights.shape(name)
        place, own = self.weights.places[name], f"w.{name}"
        types = self.onnx.TensorProto
        if own not in self.initializers:
            tensor = types(
                name=own, dims=place.shape, data_type=getattr(types, FLOATS[place.dtype])
            )
            tensor.data_location = types.EXTERNAL
            entries = {"location": place.file, "offset": place.offset, "length": place.length}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            self.initializers[own] = tensor
        return own if FLOATS[place.dtype] == kind else self.cast(own, kind)

    # -- nodes ---------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return its output, or a list of several."""
        names = [f"{kind.lower()}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def cast(self, x: str, kind: str) -> str:
        """Convert to another data type."""
        return self.op("Cast", x, to=getattr(self.onnx.TensorProto, kind))

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape: 0 keeps a dimension, -1 is what is left."""
        return self.op("Reshape", x, self.integers(*shape))

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        """Take a range along one axis."""
        ends = (self.integers(value) for value in (start, end, axis))
        return self.op("Slice", x, *ends)

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Split along one axis into these sizes."""
        if len(sizes) == 1:
            return [x]
        return self.op("Split", x, self.integers(*sizes), outputs=len(sizes), axis=axis)

    def concat(self, parts: Sequence[str], axis: int) -> str:
        """Concatenate along one axis."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def sum(self, *terms: str) -> str:
        """Add terms from left to right."""
        total, *others = terms
        for term in others:
            total = self.op("Add", total, term)
        return total

    def linear(self, x: str, *prefixes: str, kind: str = "FLOAT") -> str:
        """Apply linear layers of one input [.., in], as one product with joined outputs [.., out]."""
        shapes = [self.weights.shape(f"{prefix}.weight") for prefix in prefixes]

        def joined(graph: Graph, end: str = "weight") -> str:
            return graph.concat([graph.weight(f"{prefix}.{end}", kind) for prefix in prefixes], 0)

        bias = [joined(self, "bias")] if f"{prefixes[0]}.bias" in self.weights else []
        return self.product(x, (sum(rows for rows, _ in shapes), shapes[0][1]), joined, *bias)

    def product(
        self, x: str, shape: tuple[int, int], weight: Callable[["Graph"], str], *bias: str
    ) -> str:
        """Multiply [.., in] by a weight, and add a bias: [.., out].

        Args:
            x: [.., in].
            shape: of the weight, [out, in].
            weight: adds the weight to a graph.
            bias: [out], or none.

        """
        outputs, inputs = shape
        block = next((size for size in BLOCKS if inputs % size == 0), 0)
        if self.quantized is None or not block or outputs * inputs < MIN_WEIGHTS:
            turned = self.op("Transpose", weight(self), perm=[1, 0])
            return self.sum(self.op("MatMul", x, turned), *bias)
        stored = f"{self.name}.{len(self.nodes)}.stored", f"{self.name}.{len(self.nodes)}.scales"
        self.quantized.quantize(weight(self.quantized), (outputs, inputs // block, block), stored)
        types = self.onnx.TensorProto
        for name, kind, size in (
            (stored[0], types.UINT8, (outputs, inputs // block, block)),
            (stored[1], types.FLOAT, (outputs, inputs // block)),
        ):
            tensor = types(name=name, dims=size, data_type=kind, data_location=types.EXTERNAL)
            tensor.external_data.add(key="location", value=self.quantized.name)
            self.initializers[name] = tensor
        return str(
            self.op(
                "MatMulNBits",
                x,
                *stored,
                *(("", "", *bias) if bias else ()),
                domain=CONTRIBUTED,
                K=inputs,
                N=outputs,
                bits=8,
                block_size=block,
                accuracy_level=4,  # products of 8 bits
            )
        )

    def check_products(self, name: str) -> None:
        """Add the output `name`: where products of 8 bits are right, which on some CPUs saturate."""
        x = self.constant(np.full((16, 64), 255), np.uint8)
        y = self.constant(np.full((64, 16), 127), np.int8)
        right = self.constant(64 * 255 * 127, np.int32)
        same = self.op("Equal", self.op("MatMulInteger", x, y), right)
        self.output(name, same, "BOOL", (16, 16))

    def rounded_linear(self, x: str, prefix: str, least: float | None = None) -> str:
        """Apply a linear layer to [N, in] by products of 8 bits, see `rounded_product`."""
        inputs = self.weights.shape(f"{prefix}.weight")[1]
        weight, bias = (self.weight(f"{prefix}.{end}") for end in ("weight", "bias"))
        return self.rounded_product(x, weight, bias, inputs, least)

    def rounded_product(
        self, x: str, weight: str, bias: str, inputs: int, least: float | None = None
    ) -> str:
        """Multiply [N, in] by a weight in 8 bits, and add a bias: [N, out].

        An input is rounded to 255 steps from the least to the largest of its row, so that no row
        depends on another; a weight to 127 of the largest of its output.

        Args:
            x: [N, in].
            weight: [out, in].
            bias: [out].
            inputs: number of inputs.
            least: a lower bound of all inputs; None: each row has its own.

        """
        axis = self.integers(1)
        largest = self.op("ReduceMax", self.op("Abs", weight), axis)  # [out, 1]
        steps = self.op("Div", largest, self.constant(127))
        stored = self.cast(self.op("Round", self.op("Div", weight, steps)), "INT8")
        stored = self.op("Transpose", stored, perm=[1, 0])
        steps = self.op("Squeeze", steps, axis)  # [out]
        ones = self.constant(np.ones((1, inputs)), np.uint8)
        sums = self.cast(self.op("MatMulInteger", ones, stored), "FLOAT")
        sums = self.op("Mul", sums, steps)  # [1, out] what an input of 1 everywhere gives
        floor = self.constant([[least]]) if least is not None else self.op("ReduceMin", x, axis)
        above = self.op("Sub", x, floor)
        scale = self.op("ReduceMax", above, axis, keepdims=0)
        scale = self.op("Mul", self.op("Max", scale, self.constant(1e-8)), self.constant(1 / 255))
        zeros = self.op("Expand", self.constant(0, np.uint8), self.op("Shape", scale))
        rounded = self.op("QuantizeLinear", above, scale, zeros, axis=0)  # [N, in]
        scaled = rounded, stored, self.constant(1), steps
        product = self.op("MatMulIntegerToFloat", *scaled, domain=CONTRIBUTED)
        product = self.op("Mul", product, self.op("Unsqueeze", scale, axis))
        return self.sum(product, self.op("Gemm", floor, sums, bias))  # [N, out]

    def quantize(self, weight: str, shape: tuple[int, int, int], names: tuple[str, str]) -> None:
        """Round a weight [out, in] to 8 bits, with a scale for every block, as two outputs.

        As MatMulNBits stores it: uint8 [out, blocks, block] around 128, and scales [out, blocks].

        Args:
            weight: [out, in].
            shape: out, blocks, block.
            names: of the two outputs.

        """
        x = self.reshape(weight, *shape)
        largest = self.op("ReduceMax", self.op("Abs", x), self.integers(-1))
        scale = self.op("Div", self.op("Max", largest, self.constant(1e-8)), self.constant(127))
        rounded = self.op("Round", self.op("Div", x, scale))
        stored = self.cast(self.op("Add", rounded, self.constant(128)), "UINT8")
        self.output(names[0], stored, "UINT8", shape)
        self.output(names[1], self.reshape(scale, *shape[:2]), "FLOAT", shape[:2])

    def layer_norm(self, x: str, prefix: str, kind: str = "FLOAT") -> str:
        """Normalize over the last axis."""
        scale, bias = (self.weight(f"{prefix}.{end}", kind) for end in ("weight", "bias"))
        return self.op("LayerNormalization", x, scale, bias, epsilon=1e-5)

    # -- end -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the graph; the weights must be in its folder."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, self.name, self.inputs, self.outputs, list(self.initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIBUTED, 1)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="vocalmtp"
        )
        self.onnx.save(model, str(path))
