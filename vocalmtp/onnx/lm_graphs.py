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
from vocalmtp.onnx.builder import CONTRIBUTED, Graph, Weights
from vocalmtp.text.letter_phones import LONGEST

BACKBONES = ("llama", "qwen2")
END = np.iinfo(np.int64).max
LONGEST_CONTEXT = 2048  # positions, of a backbone whose configuration does not say


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
        f"its head is of kind '{head.get('kind')}'": head.get("kind")
        in ("transformer", "slot_mlp", "slot_transformer"),
        "the end is not that of the first stream alone": config.end_slots != "first",
        "its speaker projection has settings": bool(config.speaker_projection),
        "its backbone has no last norm": not config.backbone_norm,
        "it has audio input": bool(config.audio_input),
        "it has a trunk": bool(config.trunk),
    }
    for problem, found in problems.items():
        if found:
            raise InputError(
                f"{what}: cannot be exported to ONNX: {problem}; use an engine of torch",
                code="unsupported",
            )


def text_graph(config: SpeechLMConfig, weights: Weights, int8: bool = False) -> Graph:
    """Build the text encoder of the track: characters [U] to [U, D].

    With `int8`, its convolutions are products of 8 bits.
    """
    graph, track = Graph("text", weights), config.track_config
    characters = graph.input("characters", "INT64", ["U"])
    x, rest = _embed_digit(graph, "track.embedding.weight", characters)  # [U, width]
    for place in range(LONGEST if config.phones else 0):
        phone, rest = _embed_digit(graph, f"track.phone_embeddings.{place}.weight", rest)
        x = graph.op("Add", x, phone)
    convolve = _convolve_in_int8 if int8 else _convolve
    for layer in range(track.layers):
        y = convolve(graph, x, f"track.convolutions.{layer}", track.kernel)
        x = graph.op("Add", x, graph.op("Gelu", y))
    encoded = graph.linear(graph.layer_norm(x, "track.norm"), "track.output")
    graph.output("text", encoded, "FLOAT", ["U", "D"])
    return graph


def _convolve(graph: Graph, x: str, part: str, kernel: int) -> str:
    """Convolution over [U, C] with padding "same": [U, C]."""
    before = (kernel - 1) // 2
    turned = graph.op("Unsqueeze", graph.op("Transpose", x, perm=[1, 0]), graph.integers(0))
    weight, bias = (graph.weight(f"{part}.{end}") for end in ("weight", "bias"))
    y = graph.op("Conv", turned, weight, bias, pads=[before, kernel - 1 - before])  # [1, C, U]
    return str(graph.op("Transpose", graph.op("Squeeze", y, graph.integers(0)), perm=[1, 0]))


def _convolve_in_int8(graph: Graph, x: str, part: str, kernel: int) -> str:
    """Convolution as `_convolve`, as one product of all windows in 8 bits."""
    before = (kernel - 1) // 2
    padded = graph.op("Pad", x, graph.integers(before, 0, kernel - 1 - before, 0))
    ends = [tap - kernel + 1 or END for tap in range(kernel)]
    windows = graph.concat([graph.slice(padded, tap, end, 0) for tap, end in enumerate(ends)], 1)
    weight, bias = (graph.weight(f"{part}.{end}") for end in ("weight", "bias"))
    outputs, inputs, _ = graph.weights.shape(f"{part}.weight")
    turned = graph.op("Transpose", weight, perm=[0, 2, 1])  # [out, kernel, in]
    flat = graph.reshape(turned, outputs, kernel * inputs)
    return graph.rounded_product(windows, flat, bias, kernel * inputs)


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


def step_graph(config: SpeechLMConfig, weights: Weights, quantized: Graph | None = None) -> Graph:
    """Build the embedding of a step: tokens [B, K], text [B, G, D] and speaker [B, D] to [B, D]."""
    graph, layout = Graph("step", weights, quantized), config.layout
    slots, group = layout.tokens_per_step, layout.frames_per_step
    joint = sum(slot.joint for slot in layout.slots)
    tokens = graph.input("tokens", "INT64", ["B", slots])
    ids = graph.op("Add", tokens, graph.weight("embedding.offsets", "INT64"))
    vectors = graph.op("Gather", graph.weight("embedding.table"), ids)  # [B, K, D]
    width = config.backbone["hidden_size"]
    framed = _sum_of_slots(graph, graph.slice(vectors, joint, slots, 1), group, width)
    if "embedding.digits" in weights:
        own = graph.slice(ids, joint, slots, 1)
        digits = graph.op("Gather", graph.weight("embedding.digits"), own)
        size = weights.shape("embedding.digits")[1]
        summed = _sum_of_slots(graph, digits, group, size)
        mapped = graph.op("Gelu", graph.linear(summed, "embedding.digit_map.0"))
        framed = graph.op("Add", framed, graph.linear(mapped, "embedding.digit_map.2"))
    scale = graph.constant(slots**-0.5)
    parts = {"embedding": graph.op("Mul", framed, scale)}
    if config.has_text_track:
        parts["track"] = graph.input("text", "FLOAT", ["B", group, "D"])
    total = _sum_of_frames(graph, parts, group, width)
    if joint:
        of_joint = graph.slice(vectors, 0, joint, 1)
        of_joint = graph.op("ReduceSum", of_joint, graph.integers(1), keepdims=0)
        total = graph.op("Add", graph.op("Mul", of_joint, scale), total)
    if config.speaker_every_step:
        total = graph.op("Add", total, graph.input("speaker", "FLOAT", ["B", "D"]))
    if len(config.step_sizes) > 1:
        sizes = graph.weight("step_size_embedding.weight")
        last = graph.slice(sizes, len(config.step_sizes) - 1, len(config.step_sizes), 0)
        total = graph.op("Add", total, last)
    graph.output("inputs", total, "FLOAT", ["B", "D"])
    return graph


def _sum_of_slots(graph: Graph, x: str, group: int, width: int) -> str:
    """Sum the slots of every frame: [B, G Q, D] to [B, G, D]."""
    by_frame = graph.reshape(x, 0, group, -1, width)
    return str(graph.op("ReduceSum", by_frame, graph.integers(2), keepdims=0))


def _sum_of_frames(graph: Graph, parts: dict[str, str], group: int, width: int) -> str:
    """Sum the frames of all parts [B, G, D], all but the first through a map of their own: [B, D].

    The maps are one product.
    """
    first, *later = graph.split(graph.concat(list(parts.values()), 2), [1] * group, 1)
    whole = graph.reshape(first, -1, len(parts), width)
    total = graph.op("ReduceSum", whole, graph.integers(1), keepdims=0)
    if not later:
        return str(total)
    names = [f"{part}.frame_proj.{i}.weight" for i in range(group - 1) for part in parts]

    def joined(own: Graph) -> str:
        return own.concat([own.weight(name) for name in names], 1)

    inputs = graph.reshape(graph.concat(later, 2), -1, len(names) * width)
    return str(graph.op("Add", total, graph.product(inputs, (width, len(names) * width), joined)))


def lm_graph(config: SpeechLMConfig, weights: Weights, quantized: Graph | None = None) -> Graph:
    """Build backbone and head.

    Inputs [B, L, D], and keys and values of each layer [B, J, P, d], to the logits of the last
    position [B, sum of V_k], and the keys and values with those of the inputs. The inputs of row b
    end at position `last` [B]; `longest` is the number of positions of the longest row, of at most
    P + L. Each row is in the first positions of its cache, which may be input and output at once.
    """
    graph, backbone = Graph("lm", weights, quantized), config.backbone
    width, heads = backbone["hidden_size"], backbone["num_attention_heads"]
    kv_heads = backbone.get("num_key_value_heads") or heads
    dim = backbone.get("head_dim") or width // heads
    x = graph.input("inputs", "FLOAT", ["B", "L", width])
    places = graph.input("last", "INT32", ["B"]), graph.input("longest", "INT32", [1])
    rotation = _rotation(graph, config, dim)
    added = ""
    for layer in range(backbone["num_hidden_layers"]):
        part = f"backbone.model.layers.{layer}"
        x, normed = _rms_norm(graph, x, added, f"{part}.input_layernorm.weight", backbone)
        past = [
            graph.input(f"{name}.{layer}", "FLOAT", ["B", kv_heads, "P", dim])
            for name in ("keys", "values")
        ]
        mixed, *kept = graph.op(
            "GroupQueryAttention",
            graph.linear(normed, *(f"{part}.self_attn.{name}_proj" for name in "qkv")),
            "",
            "",
            *past,
            *places,
            *rotation,
            outputs=3,
            domain=CONTRIBUTED,
            num_heads=heads,
            kv_num_heads=kv_heads,
            do_rotary=1,
        )
        for name, value in zip(("keys", "values"), kept, strict=True):
            graph.output(f"new_{name}.{layer}", value, "FLOAT", ["B", kv_heads, "T", dim])
        added = graph.linear(mixed, f"{part}.self_attn.o_proj")
        x, normed = _rms_norm(graph, x, added, f"{part}.post_attention_layernorm.weight", backbone)
        both = graph.linear(normed, f"{part}.mlp.gate_proj", f"{part}.mlp.up_proj")
        gate, up = graph.split(both, [backbone["intermediate_size"]] * 2, 2)
        silu = graph.op("QuickGelu", gate, domain=CONTRIBUTED, alpha=1.0)
        added = graph.linear(graph.op("Mul", silu, up), f"{part}.mlp.down_proj")
    _, normed = _rms_norm(graph, x, added, "backbone.model.norm.weight", backbone)
    last = graph.op("Gather", normed, graph.constant(-1, np.int64), axis=1)  # [B, D]
    vocabulary = sum(slot.vocab_size for slot in config.layout.slots)
    graph.output("logits", _head(graph, config, last), "FLOAT", ["B", vocabulary])
    return graph


def _rms_norm(
    graph: Graph, x: str, added: str, name: str, backbone: dict[str, float]
) -> tuple[str, str]:
    """Add what a layer made to `x` [B, L, D], if it made something: the sum, and its norm."""
    epsilon, scale = backbone.get("rms_norm_eps", 1e-6), graph.weight(name)
    if not added:
        return x, graph.op("SimplifiedLayerNormalization", x, scale, epsilon=epsilon)
    inputs = [x, added, scale]
    normed, _, _, total = graph.op(
        "SkipSimplifiedLayerNormalization",
        *inputs,
        outputs=4,
        domain=CONTRIBUTED,
        epsilon=epsilon,
    )
    return total, normed


def _rotation(graph: Graph, config: SpeechLMConfig, dim: int) -> tuple[str, str]:
    """Cosine and sine of all rotary positions, [P, d / 2] each; made when a session begins."""
    rope = config.backbone.get("rope_parameters") or {}
    theta = rope.get("rope_theta") or config.backbone.get("rope_theta", 10_000.0)
    # by Python, as the last bits of numpy's powers depend on the CPU
    frequencies = np.array([theta ** -(each / dim) for each in range(0, dim, 2)])
    most = config.backbone.get("max_position_embeddings", LONGEST_CONTEXT)
    zero, count, one = (graph.constant(value, np.int64) for value in (0, most, 1))
    places = graph.op("Unsqueeze", graph.op("Range", zero, count, one), graph.integers(1))
    angles = graph.op("Mul", graph.cast(places, "DOUBLE"), graph.constant(frequencies, np.float64))
    turns = graph.op("Mod", angles, graph.constant(math.tau, np.float64), fmod=1)
    small = graph.cast(turns, "FLOAT")
    return graph.op("Cos", small), graph.op("Sin", small)


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
