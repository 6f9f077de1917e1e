"""A language model of two layers that has learned replies by heart, and decides whether to think."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vocalmtp.models.prompts import Text
from vocalmtp.models.text_lm import TextLM, new_backbone
from vocalmtp.text.thinking import MODES, TAGS, Reply, format_reply

END = "<end>"
WORDS = (
    "seven plus five times six hundred twelve four thousand two eighty many one step steps".split()
)
TEMPLATE = (
    "{% for m in messages %}{{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}{{ opened }}{% endif %}"
)
QUESTIONS = {
    "seven plus five": Reply(mode="off", judge="one step", answer="twelve"),
    "six hundred twelve times seven": Reply(
        mode="on",
        judge="many steps",
        thoughts="two times seven one times seven six times seven",
        answer="four thousand two hundred eighty four",
    ),
}


def save_toy_thinking_model(folder: Path, draft: bool = False) -> Path:
    """Train the model on `QUESTIONS`; its mode tokens are special ones."""
    torch.manual_seed(0)
    core = Tokenizer(models.WordLevel({w: n for n, w in enumerate([END, *WORDS])}, unk_token=END))
    core.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"[.?,]|\band\b"), "")]
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = tuple(MODES.values())
    core.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS if tag not in special])
    core.add_special_tokens([AddedToken(tag, normalized=False) for tag in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, chat_template=TEMPLATE.replace("{{ opened }}", "")
    )
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
    config = {"model_type": "llama", "num_attention_heads": 4, "max_position_embeddings": 256}
    backbone = new_backbone({"eos_token_id": 0, **sizes, **config}, len(tokenizer))
    model = TextLM(backbone, {"name": "recursive", "steps": 2} if draft else None)
    rows = [
        [
            Text(tokenizer(question)["input_ids"], supervised=False),
            Text([*tokenizer(format_reply(reply))["input_ids"], 0], supervised=True),
        ]
        for question, reply in QUESTIONS.items()
    ]
    batch = model.collator()(rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    model.save(folder)
    tokenizer.save_pretrained(folder)
    return folder
