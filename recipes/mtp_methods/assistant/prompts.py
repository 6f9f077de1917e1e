"""Chat prompts from templates, whose answers train draft heads, and held-out ones.

Half of the prompts have the system prompt of `vocalmtp chat`, the others that of the chat template.
No topic of a training prompt is in a held-out one, and no question of QUESTIONS.
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from vocalmtp.chat.config import SYSTEM

TOPICS = """the moon; the sun; the oceans; volcanoes; rain; snow; thunderstorms; rainbows;
mountains; rivers; deserts; forests; gravity; light; sound; electricity; magnets; atoms; water;
iron; gold; salt; glass; paper; plastic; steel; cats; dogs; horses; whales; sharks; penguins; owls;
bees; ants; butterflies; frogs; snakes; elephants; lions; bears; wolves; dinosaurs; trees; flowers;
mushrooms; apples; bananas; bread; cheese; chocolate; coffee; tea; rice; pasta; soup; eggs; honey;
sugar; cars; trains; ships; airplanes; bicycles; rockets; bridges; computers; the internet;
telephones; cameras; clocks; radios; robots; books; newspapers; libraries; schools; museums;
hospitals; music; the piano; the guitar; the violin; painting; poetry; theater; films; dancing;
football; tennis; swimming; running; chess; yoga; sleep; dreams; exercise; healthy food; vitamins;
the heart; the brain; the lungs; the eyes; bones; money; banks; markets; taxes; democracy; laws; the
Roman Empire; ancient Egypt; the Middle Ages; the Renaissance; China; India; Japan; France; Germany;
Italy; Spain; Brazil; Canada; Australia; London; New York; Mars; Jupiter; stars; galaxies; comets;
earthquakes; the atmosphere; climate change; recycling; solar energy; wind energy; mathematics;
fractions; prime numbers; geometry; statistics; chemistry; biology; physics; history; geography;
languages; grammar; friendship; kindness; courage; patience; happiness; work; travel; camping;
gardening; cooking; fishing; knitting; photography"""

TEMPLATES = """What can you tell me about {}?; Why do people like {}?; Explain {} to a child.; Tell
me something surprising about {}.; How would you describe {} in a few words?; Why does it matter to
know about {}?; I have a question about {}. Where should I begin?; Write a short story about {}.;
Give me some advice about {}.; What is the history of {}?; Write two sentences about {}.; What are
the most important facts about {}?; Can you help me understand {}?; What would the world be like
without {}?; What do scientists say about {}?; Write a short letter to a friend about {}.; Name a
good thing and a bad thing about {}.; How has our view of {} changed over time?"""

HELD_OUT_TOPICS = """tigers; lightning; the planet Venus; the Amazon; silver; ice cream; submarines;
televisions; the drums; basketball; the stomach; inflation; the Vikings; Mexico; Paris; the seasons;
algebra; honesty; sailing; beavers; lakes; bacteria; oranges; tractors"""

QUESTIONS = """What is the capital of Portugal?; How do I boil an egg?; Why do leaves change color
in autumn?; Who invented the light bulb?; What should I wear when it is cold outside?; How far away
is the nearest star?; Tell me a joke.; What is a healthy breakfast?; How does a refrigerator keep
food cold?; Why do we have leap years?; How can I learn a new language?; What is the difference
between a fruit and a vegetable?; What makes a good friend?; How can I fall asleep more easily?; Why
is the sea salty?; What does a plumber do?"""

SEED = 11
TRAIN, TEST = 576, 80  # prompts


def listed(text: str) -> list[str]:
    """Split a list at its semicolons."""
    return [" ".join(item.split()) for item in text.split(";")]


def questions() -> tuple[list[str], list[str]]:
    """Questions for training, and held-out ones, in random order."""
    random = Random(SEED)
    train = [form.format(topic) for form, topic in product(listed(TEMPLATES), listed(TOPICS))]
    held = [
        form.format(topic) for form, topic in product(listed(TEMPLATES), listed(HELD_OUT_TOPICS))
    ]
    random.shuffle(train)
    random.shuffle(held)
    own = listed(QUESTIONS)
    held = [*own, *held[: TEST - len(own)]]
    random.shuffle(held)
    return train[:TRAIN], held


def prompts(asked: list[str], tokenizer: Any) -> Iterator[str]:
    """Format questions by the chat template, every other one with the system prompt of the chat."""
    for number, question in enumerate(asked):
        chat = [{"role": "user", "content": question}]
        if number % 2 == 0:
            chat = [{"role": "system", "content": SYSTEM}, *chat]
        yield tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)


def write_prompts(folder: Path, tokenizer: Any) -> None:
    """Write train.jsonl and test.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    train, held = questions()
    for name, asked in (("train", train), ("test", held)):
        lines = [json.dumps({"text": text}) for text in prompts(asked, tokenizer)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
