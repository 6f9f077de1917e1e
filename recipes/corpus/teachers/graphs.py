"""ONNX graphs of the neural teachers: one thread, durations as an output, faster int8."""

from __future__ import annotations

from typing import Any

import numpy as np


def open_session(graph: bytes, extra_output: str, exact: bool = False) -> Any:
    """Open an inference session.

    Args:
        graph: A serialised ONNX model.
        extra_output: Name of an inner int64 value that becomes the last output.
        exact: Whether 8-bit products are exact on every processor, see ``session_options``.

    Returns:
        An ``onnxruntime.InferenceSession``.
    """
    import onnx
    import onnxruntime

    model = onnx.load_from_string(graph)
    value = onnx.helper.make_tensor_value_info(extra_output, onnx.TensorProto.INT64, None)
    model.graph.output.append(value)
    replace_integer_convolutions(model)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(exact), providers=["CPUExecutionProvider"]
    )


def session_options(exact: bool) -> Any:
    """Return the options of a session with one thread.

    Args:
        exact: Whether 8-bit products are exact. Without it, they saturate on processors without VNNI:
            Kokoro loses words there, hibari does not, whose graph onnxruntime cannot change to it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", str(int(exact)))
    return options


def replace_integer_convolutions(model: Any) -> int:
    """Make matrix products of the uint8 ``ConvInteger`` nodes of an ONNX model, in place.

    onnxruntime has a slow kernel for integer convolutions, and a fast one for the product of uint8
    activations and constant int8 weights. The integers are the same, so the results are, bit for
    bit; a processor with AVX-512 VNNI needs 30 % less time for all of Kokoro.

    Returns:
        The number of nodes that were replaced; those with strides or groups stay.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes, count = [], 0
    for node in graph.node:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if (
            node.op_type != "ConvInteger"
            or settings.get("strides", [1]) != [1]
            or settings.get("group", 1) != 1
            or len(settings["kernel_shape"]) != 1
        ):
            nodes.append(node)
            continue
        weight, zero = (numpy_helper.to_array(constants[node.input[i]]) for i in (1, 3))
        tensors, made = _as_product(node, settings, weight, zero)
        graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in tensors.items())
        nodes += made
        count += 1
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return count


def _as_product(
    node: Any, settings: dict[str, Any], weight: np.ndarray, zero: np.ndarray
) -> tuple[dict[str, np.ndarray], list[Any]]:
    """The constants and nodes of one convolution [B, C, L] -> [B, O, L] as a matrix product."""
    from onnx import helper

    (source, _, source_zero, *_), target = node.input, node.output[0]
    outputs, channels, width = weight.shape
    dilation, (before, after) = settings["dilations"][0], settings["pads"]
    matrix = weight.transpose(2, 1, 0).reshape(width * channels, outputs)
    tensors = {
        f"{target}/weight": (matrix.astype(np.int16) - 128).astype(np.int8),
        f"{target}/zero": (zero.astype(np.int16) - 128).astype(np.int8),
        f"{target}/pads": np.array([0, 0, before, 0, 0, after]),
        f"{target}/axis": np.array([1]),
    }
    padded, columns = f"{target}/padded", f"{target}/columns"
    nodes = [
        helper.make_node("Pad", [source, f"{target}/pads", source_zero], [padded]),
        helper.make_node("Transpose", [padded], [columns], perm=[0, 2, 1]),  # [B, L, C]
    ]
    if width > 1:
        shifted = []
        for tap in range(width):
            end = (tap + 1 - width) * dilation
            tensors[f"{target}/from{tap}"] = np.array([tap * dilation])
            tensors[f"{target}/to{tap}"] = np.array([end or np.iinfo(np.int64).max])
            ends = [f"{target}/{name}" for name in (f"from{tap}", f"to{tap}", "axis")]
            shifted.append(f"{target}/tap{tap}")
            nodes.append(helper.make_node("Slice", [columns, *ends], [shifted[-1]]))
        columns = f"{target}/taps"
        nodes.append(helper.make_node("Concat", shifted, [columns], axis=2))  # [B, L, width * C]
    factors = [columns, f"{target}/weight", source_zero, f"{target}/zero"]
    nodes.append(helper.make_node("MatMulInteger", factors, [f"{target}/product"]))
    nodes.append(helper.make_node("Transpose", [f"{target}/product"], [target], perm=[0, 2, 1]))
    return tensors, nodes
