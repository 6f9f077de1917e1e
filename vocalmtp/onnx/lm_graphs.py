"""The graphs of a speech LM: its text encoder, prompts, the embedding of a step, and the backbone.

Letters: B rows, L positions, P positions in the cache, U characters, K slots, G frames per step,
D width, H query heads, J key-value heads, d size of a head, V_k vocabulary of slot k.
"""

import math
from collections.abc import Sequence

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.heads.parallel import ParallelConfig
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.onnx.builder import Graph, Weights
from vocalmtp.text.letter_phones import LONGEST

BACKBONES = ("llama", "qwen2")


def check_exportable(config: SpeechLMConfig, what: str) -> None:
    """Check that a model has the parts that graphs exist for.

    Raises:
        InputError: it has others (`unsupported`).

    """
    backbone, head = config.backbone, config.head
    rope = backbone.get("rope_parameters") or backbone.get("rope_scaling") or {}
    problems = {
        f"its backbone is a {backbone.get('model_type')}, not one of {', '.join(BACKBONES)}": (
            backbone.get("model_type") not in BACKBONES
        ),
        "its backbone has other rotary positions than the plain ones": (
            rope.get("rope_type", "default") != "default"
        ),
        "its backbone has sliding-window attention": bool(backbone.get("use_sliding_window")),
        f"its head is '{head.get('name')}', whose slots depend on each other": (
            head.get("name", "parallel") != "parallel"
        ),
        "its head has attention": head.get("kind") == "transformer",
        "it has audio input": bool(config.audio_input),
        "it has a trunk": bool(config.trunk),
    }
    for problem, found in problems.items():
        if found:
            raise InputError(
                f"{what}: cannot be exported to ONNX: {problem}; use an engine of torch",
                code="unsupported",
            )


def text_graph(config: SpeechLMConfig, weights: Weights) -> Graph:
    """Build the text encoder of the track: characters [U] to [U, D]."""
    graph, track = Graph("text", weights), config.track_config
    characters = graph.input("characters", "INT64", ["U"])
    x, rest = _embed_digit(graph, "track.embedding.weight", characters)  # [U, width]
    for place in range(LONGEST if config.phones else 0):
        phone, rest = _embed_digit(graph, f"track.phone_embeddings.{place}.weight", rest)
        x = graph.op("Add", x, phone)
    x = graph.op("Unsqueeze", graph.op("Transpose", x, perm=[1, 0]), graph.integers(0))
    before = (track.kernel - 1) // 2
    for layer in range(track.layers):
        names = (f"track.convolutions.{layer}.{end}" for end in ("weight", "bias"))
        pads = [before, track.kernel - 1 - before]
        y = graph.op("Conv", x, *(graph.weight(name) for name in names), pads=pads)
        x = graph.op("Add", x, graph.op("Gelu", y))  # [1, width, U]
    x = graph.op("Transpose", graph.op("Squeeze", x, graph.integers(0)), perm=[1, 0])
    encoded = graph.linear(graph.layer_norm(x, "track.norm"), "track.output")
    graph.output("text", encoded, "FLOAT", ["U", "D"])
    return graph


def _embed_digit(graph: Graph, table: str, ids: str) -> tuple[str, str]:
    """Rows of a table for the lowest digits of ids [U], and the rest of the ids."""
    size = graph.integers(graph.weights.shape(table)[0])
    rows = graph.op("Gather", graph.weight(table), graph.op("Mod", ids, size))
    return rows, graph.op("Div", ids, size)


def prompt_graph(config: SpeechLMConfig, weights: Weights) -> Graph:
    """Build what prompts consist of: the speaker [1, D], control tokens, and text tokens [L, D]."""
    graph = Graph("prompt", weights)
    if config.speaker_dim:
        vector = graph.input("vector", "FLOAT", [1, config.speaker_dim])
        scaled = graph.op("Mul", vector, graph.constant(config.speaker_dim**0.5))
        inner = graph.op("Gelu", graph.linear(scaled, "speaker_projection.projection.0"))
        projected = graph.linear(inner, "speaker_projection.projection.2")
        graph.output("speaker", projected, "FLOAT", [1, "D"])
        none = graph.reshape(graph.weight("speaker_projection.no_speaker"), 1, -1)
        graph.output("no_speaker", none, "FLOAT", [1, "D"])
    graph.output("control", graph.weight("control_tokens.weight"), "FLOAT", ["C", "D"])
    if config.uses_text_tokens:
        ids = graph.input("ids", "INT64", ["L"])
        table = graph.weight("backbone.model.embed_tokens.weight")
        graph.output("tokens", graph.op("Gather", table, ids), "FLOAT", ["L", "D"])
    if len(config.step_sizes) > 1:
        sizes = graph.weight("step_size_embedding.weight")
        last = graph.slice(sizes, len(config.step_sizes) - 1, len(config.step_sizes), 0)
        graph.output("step_size", last, "FLOAT", [1, "D"])
    return graph


def step_graph(config: SpeechLMConfig, weights: Weights) -> Graph:
    """Build the embedding of a step: tokens [B, K], text [B, G, D] and speaker [B, D] to [B, D]."""
    graph, layout = Graph("step", weights), config.layout
    slots, group = layout.tokens_per_step, layout.frames_per_step
    joint = sum(slot.joint for slot in layout.slots)
    tokens = graph.input("tokens", "INT64", ["B", slots])
    ids = graph.op("Add", tokens, graph.weight("embedding.offsets", "INT64"))
    vectors = graph.op("Gather", graph.weight("embedding.table"), ids)  # [B, K, D]
    framed = _sum_of_slots(graph, graph.slice(vectors, joint, slots, 1), group)
    if "embedding.digits" in weights:
        own = graph.slice(ids, joint, slots, 1)
        digits = graph.op("Gather", graph.weight("embedding.digits"), own)
        flat = graph.reshape(_sum_of_slots(graph, digits, group), -1, _width(weights, "digits"))
        mapped = graph.op("Gelu", graph.linear(flat, "embedding.digit_map.0"))
        mapped = graph.linear(mapped, "embedding.digit_map.2")
        framed = graph.op("Add", framed, graph.reshape(mapped, -1, group, _width(weights, "table")))
    total = _sum_of_frames(graph, framed, "embedding", group)
    if joint:
        of_joint = graph.slice(vectors, 0, joint, 1)
        of_joint = graph.op("ReduceSum", of_joint, graph.integers(1), keepdims=0)
        total = graph.op("Add", of_joint, total)
    total = graph.op("Mul", total, graph.constant(slots**-0.5))
    if config.has_text_track:
        text = graph.input("text", "FLOAT", ["B", group, "D"])
        total = graph.op("Add", total, _sum_of_frames(graph, text, "track", group))
    if config.speaker_every_step:
        total = graph.op("Add", total, graph.input("speaker", "FLOAT", ["B", "D"]))
    if len(config.step_sizes) > 1:
        sizes = graph.weight("step_size_embedding.weight")
        last = graph.slice(sizes, len(config.step_sizes) - 1, len(config.step_sizes), 0)
        total = graph.op("Add", total, last)
    graph.output("inputs", total, "FLOAT", ["B", "D"])
    return graph


def _width(weights: Weights, name: str) -> int:
    return weights.shape(f"embedding.{name}")[1]


def _sum_of_slots(graph: Graph, x: str, group: int) -> str:
    """Sum the slots of every frame: [B, G Q, D] to [B, G, D]."""
    shape = graph.op("Shape", x)
    sizes = [graph.slice(shape, i, i + 1, 0) for i in (0, 2)]
    unfolded = graph.op("Concat", sizes[0], graph.integers(group, -1), sizes[1], axis=0)
    by_frame = graph.op("Reshape", x, unfolded)
    return str(graph.op("ReduceSum", by_frame, graph.integers(2), keepdims=0))


def _sum_of_frames(graph: Graph, x: str, part: str, group: int) -> str:
    """Sum the frames of a step [B, G, D], all but the first through a map of their own: [B, D]."""
    frames = [
        graph.op("Squeeze", frame, graph.integers(1)) for frame in graph.split(x, [1] * group, 1)
    ]
    mapped = [graph.linear(f, f"{part}.frame_proj.{i}") for i, f in enumerate(frames[1:])]
    return graph.sum(frames[0], *mapped)


def lm_graph(config: SpeechLMConfig, weights: Weights, quantized: Graph | None = None) -> Graph:
    """Build backbone and head.

    Inputs [B, L, D] at `positions` [B, L], `mask` [B, 1, L, P + L] to be added to the scores, and
    keys and values of each layer [B, J, P, d], to the logits of the last position [B, sum of V_k],
    and longer keys and values.
    """
    graph, backbone = Graph("lm", weights, quantized), config.backbone
    width, heads = backbone["hidden_size"], backbone["num_attention_heads"]
    kv_heads = backbone.get("num_key_value_heads") or heads
    dim = backbone.get("head_dim") or width // heads
    inputs = graph.input("inputs", "FLOAT", ["B", "L", width])
    positions = graph.input("positions", "INT64", ["B", "L"])
    mask = graph.input("mask", "FLOAT", ["B", 1, "L", "T"])
    length = graph.slice(graph.op("Shape", inputs), 1, 2, 0)  # [1]
    rotation = _rotation(graph, config, positions, dim)
    x = graph.reshape(inputs, -1, width)  # [B L, D]
    for layer in range(backbone["num_hidden_layers"]):
        part = f"backbone.model.layers.{layer}"
        normed = _rms_norm(graph, x, f"{part}.input_layernorm.weight", backbone)
        names = [f"{part}.self_attn.{name}_proj" for name in "qkv"]
        qkv = graph.linear(normed, *names)
        past = [
            graph.input(f"{name}.{layer}", "FLOAT", ["B", kv_heads, "P", dim])
            for name in ("keys", "values")
        ]
        shape = graph.op(
            "Concat", graph.integers(-1), length, graph.integers(heads + 2 * kv_heads, dim), axis=0
        )
        rows = graph.op("Reshape", qkv, shape)  # [B, L, H + 2 J, d]
        mixed, kept = _attend(graph, rows, rotation, past, mask, (heads, kv_heads, dim))
        for name, value in zip(("keys", "values"), kept, strict=True):
            graph.output(f"new_{name}.{layer}", value, "FLOAT", ["B", kv_heads, "T", dim])
        x = graph.op("Add", x, graph.linear(mixed, f"{part}.self_attn.o_proj"))
        normed = _rms_norm(graph, x, f"{part}.post_attention_layernorm.weight", backbone)
        both = graph.linear(normed, f"{part}.mlp.gate_proj", f"{part}.mlp.up_proj")
        gate, up = graph.split(both, [backbone["intermediate_size"]] * 2, 1)
        silu = graph.op("Mul", gate, graph.op("Sigmoid", gate))
        x = graph.op("Add", x, graph.linear(graph.op("Mul", silu, up), f"{part}.mlp.down_proj"))
    shape = graph.op("Concat", graph.integers(-1), length, graph.integers(width), axis=0)
    last = graph.op("Gather", graph.op("Reshape", x, shape), graph.constant(-1, np.int64), axis=1)
    hidden = _rms_norm(graph, last, "backbone.model.norm.weight", backbone)  # [B, D]
    graph.output("logits", _head(graph, config, hidden), "FLOAT", ["B", "V"])
    return graph


def _rms_norm(graph: Graph, x: str, name: str, backbone: dict[str, float]) -> str:
    epsilon = backbone.get("rms_norm_eps", 1e-6)
    power = graph.op("Pow", x, graph.constant(2))
    mean = graph.op("ReduceMean", power, graph.integers(-1))
    root = graph.op("Sqrt", graph.op("Add", mean, graph.constant(epsilon)))
    return str(graph.op("Mul", graph.op("Div", x, root), graph.weight(name)))


def _rotation(graph: Graph, config: SpeechLMConfig, positions: str, dim: int) -> tuple[str, str]:
    """Cosine and sine of the rotary positions, [B, L, 1, d / 2] each."""
    rope = config.backbone.get("rope_parameters") or {}
    theta = rope.get("rope_theta") or config.backbone.get("rope_theta", 10_000.0)
    frequencies = theta ** -(np.arange(0, dim, 2) / dim)
    places = graph.op("Unsqueeze", graph.cast(positions, "DOUBLE"), graph.integers(2, 3))
    angles = graph.op("Mul", places, graph.constant(frequencies, np.float64))
    turns = graph.op("Mod", angles, graph.constant(math.tau, np.float64), fmod=1)
    small = graph.cast(turns, "FLOAT")
    return graph.op("Cos", small), graph.op("Sin", small)


def _rotate(graph: Graph, x: str, rotation: tuple[str, str], dim: int) -> str:
    """Rotate queries or keys [B, L, .., d]."""
    cosine, sine = rotation
    one, other = graph.split(x, [dim // 2] * 2, 3)
    first = graph.op("Sub", graph.op("Mul", one, cosine), graph.op("Mul", other, sine))
    second = graph.op("Add", graph.op("Mul", other, cosine), graph.op("Mul", one, sine))
    return graph.concat([first, second], 3)


def _attend(
    graph: Graph,
    qkv: str,
    rotation: tuple[str, str],
    past: Sequence[str],
    mask: str,
    sizes: tuple[int, int, int],
) -> tuple[str, tuple[str, str]]:
    """Attention of one layer: [B, L, H + 2 J, d] to [B L, H d], and its keys and values."""
    heads, kv_heads, dim = sizes
    together, values = graph.split(qkv, [heads + kv_heads, kv_heads], 2)
    rotated = _rotate(graph, together, rotation, dim)
    queries, keys = (
        graph.op("Transpose", x, perm=[0, 2, 1, 3])
        for x in graph.split(rotated, [heads, kv_heads], 2)
    )
    values = graph.op("Transpose", values, perm=[0, 2, 1, 3])
    keys, values = (graph.concat([old, x], 2) for old, x in zip(past, (keys, values), strict=True))
    scaled = graph.op("Mul", queries, graph.constant(dim**-0.5))
    repeat = heads // kv_heads
    own_keys, own_values = keys, values
    if repeat > 1:  # [B, J, 1, P, d] for the queries [B, J, H / J, L, d]
        shape = [0, kv_heads, repeat, -1, dim]
        scaled = graph.reshape(scaled, *shape)
        own_keys, own_values = (graph.op("Unsqueeze", x, graph.integers(2)) for x in (keys, values))
        mask = graph.op("Unsqueeze", mask, graph.integers(1))
        turned = graph.op("Transpose", own_keys, perm=[0, 1, 2, 4, 3])
    else:
        turned = graph.op("Transpose", own_keys, perm=[0, 1, 3, 2])
    scores = graph.op("Add", graph.op("MatMul", scaled, turned), mask)
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), own_values)
    if repeat > 1:
        mixed = graph.reshape(mixed, 0, heads, -1, dim)
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.reshape(mixed, -1, heads * dim), (keys, values)


def _head(graph: Graph, config: SpeechLMConfig, hidden: str) -> str:
    """Logits of all slots [B, sum of V_k] from hidden states [B, D]."""
    settings = ParallelConfig(**{k: v for k, v in config.head.items() if k != "name"})
    slots, width = config.layout.slots, config.backbone["hidden_size"]
    if settings.kind == "linear":
        return _project(graph, hidden, range(len(slots)), config)
    joint = [slot for slot in slots if slot.joint]
    group = config.layout.frames_per_step
    count = len(joint) + group
    inner = graph.op("Gelu", graph.linear(hidden, *(f"head.maps.up.{p}" for p in range(count))))
    parts = [
        graph.op("Add", hidden, graph.linear(x, f"head.maps.down.{part}"))
        for part, x in enumerate(graph.split(inner, [width] * count, 1))
    ]
    logits = [
        _project(graph, x, [slot.stream], config) for x, slot in zip(parts, joint, strict=False)
    ]
    framed = [slot.stream for slot in slots[len(joint) :] if slot.frame == 0]
    stacked = graph.concat([graph.reshape(x, -1, 1, width) for x in parts[len(joint) :]], 1)
    frames = _project(graph, graph.reshape(stacked, -1, width), framed, config)  # [B G, ..]
    vocabulary = sum(slot.vocab_size for slot in slots[len(joint) :])
    return graph.concat([*logits, graph.reshape(frames, -1, vocabulary)], 1)


def _project(graph: Graph, hidden: str, parts: Sequence[int], config: SpeechLMConfig) -> str:
    """Project [N, D] by some tables of the head, with the digits merged into them: [N, sum of V]."""
    names = [f"head.projection.free.{part}" for part in parts]
    outputs = sum(graph.weights.shape(f"{name}.weight")[0] for name in names)
    shape = outputs, config.backbone["hidden_size"]
    bias = graph.concat([graph.weight(f"{name}.bias") for name in names], 0)

    def tables(own: Graph) -> str:
        return own.concat([_table(own, part) for part in parts], 0)

    return graph.product(hidden, shape, tables, bias)


def _table(graph: Graph, part: int) -> str:
    """The weights [V, D] of one table of the head, with those of the digits of its codes."""
    table, digit = (
        graph.weight(f"head.projection.free.{part}.weight"),
        f"head.projection.digit.{part}",
    )
    if f"{digit}.weight" not in graph.weights:
        return table
    spread = graph.op("Transpose", graph.weight(f"head.projection.spread_{part}"), perm=[1, 0])
    return graph.op("Add", table, graph.op("MatMul", spread, graph.weight(f"{digit}.weight")))
