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
gardening; cooking; fishing; knitting; photography; clouds; wind; fog; ice; fire; diamonds; sand;
soil; caves; islands; waterfalls; glaciers; the North Pole; the equator; the tides; coral reefs;
parrots; eagles; swans; chickens; cows; pigs; sheep; goats; rabbits; squirrels; mice; bats; monkeys;
giraffes; camels; kangaroos; dolphins; octopuses; crabs; spiders; snails; potatoes; tomatoes;
carrots; onions; garlic; beans; nuts; lemons; grapes; strawberries; pizza; sandwiches; milk; butter;
pepper; cinnamon; tea parties; breakfast; lunch; dinner; restaurants; bakeries; supermarkets; shoes;
hats; coats; soap; mirrors; windows; doors; chairs; beds; lamps; candles; umbrellas; keys; toys;
dolls; puzzles; card games; video games; the bus; motorcycles; elevators; traffic lights; maps;
compasses; telescopes; microscopes; batteries; engines; printers; calculators; satellites; email;
social media; artificial intelligence; passwords; hospitals at night; doctors; nurses; teachers;
farmers; firefighters; pilots; lawyers; engineers; astronauts; athletes; musicians; kings and
queens; knights; pirates; castles; pyramids; cathedrals; gardens; parks; zoos; circuses; birthdays;
weddings; Christmas; Halloween; holidays; summer; autumn; winter; spring; the night sky; black
holes; Saturn; the speed of light; evolution; genes; cells; viruses; allergies; headaches; the skin;
teeth; muscles; memory; stress; anger; fear; trust; humor; creativity; leadership; teamwork; success;
failure; money for students; saving; insurance; elections; human rights; peace; the Greeks; the
Aztecs; Australia's animals; Africa; Russia; Turkey; Sweden; Rome; Tokyo; Cairo; jazz; opera; rock
music; the flute; the trumpet; ballet; sculpture; architecture; novels; fairy tales; comic books;
dictionaries; letters; handwriting; sign language; Latin; logic; numbers; circles; triangles;
probability; percentages; baseball; hockey; skiing; surfing; climbing; hiking; volleyball; golf"""

TEMPLATES = """What can you tell me about {}?; Why do people like {}?; Explain {} to a child.; Tell
me something surprising about {}.; How would you describe {} in a few words?; Why does it matter to
know about {}?; I have a question about {}. Where should I begin?; Write a short story about {}.;
Give me some advice about {}.; What is the history of {}?; Write two sentences about {}.; What are
the most important facts about {}?; Can you help me understand {}?; What would the world be like
without {}?; What do scientists say about {}?; Write a short letter to a friend about {}.; Name a
good thing and a bad thing about {}.; How has our view of {} changed over time?; Tell
me about {}.; Tell me a story with {} in it.; I like {}. What do you think?; Give me three facts
about {}.; Make a list of five things about {}.; What is the best thing about {}?; What should
everybody know about {}?; What do children ask about {}?; Write a poem about {}.; Can you summarize
what is known about {}?; What is a common mistake about {}?; Where can I learn more about {}?; How
do {} work?; Where do {} come from?; Why are {} important?; Who studies {}?; Write a paragraph about
{}.; Write a dialogue between two friends about {}.; Compare {} with something similar.; How would
you teach a class about {}?; My daughter wants to know about {}. What do I tell her?; I am afraid of
{}. What can I do?; What questions should I ask an expert about {}?; Define {} in one sentence.; Give
an example that has to do with {}.; Which words come to mind when you think of {}?; What is the
future of {}?; Are {} good or bad?; Plan a day that has to do with {}.; Invent a name for a shop that
sells things about {}."""

REQUESTS = """How do I bake a cake?; How do I clean a window?; How do I write a letter of
application?; What can I cook with potatoes and eggs?; I am bored. What can I do?; I feel sad today.;
Good morning!; Hello, how are you?; What is your name?; What can you do?; Thank you very much.; Can
you help me with my homework?; How do I tie a tie?; How can I save money?; How can I become a better
writer?; What is the capital of France?; What is the capital of Japan?; What is the largest country
in the world?; Which river is the longest?; Who wrote Hamlet?; Who painted the Mona Lisa?; Who was
Albert Einstein?; Who was Cleopatra?; Who was Napoleon?; When did the Second World War end?; When was
the telephone invented?; How many days are there in a year?; How many legs does a spider have?; What
is two plus two?; What is twelve times nine?; What is half of fifty?; How long does it take to fly to
the moon?; How hot is the sun?; How deep is the ocean?; Why is the sky blue?; Why do cats purr?; Why
do we sleep?; Why does ice float?; Why do we yawn?; What makes a rainbow?; What is a black hole?; What
is an adjective?; What is a noun?; What is the opposite of hot?; Spell the word "beautiful".; Use the
word "gentle" in a sentence.; Translate "good evening" into French.; Translate "thank you" into
Spanish.; Tell me a bedtime story.; Tell me a riddle.; Tell me something interesting.; Write a haiku.;
Write a thank-you note.; Write an invitation to a party.; Recommend a book.; Recommend a film for
tonight.; What should I eat for dinner?; What should I pack for a week at the beach?; How do I plan a
birthday party?; How do I start a garden?; How do I train a dog?; How do I stop a cold?; How do I ask
for a raise?; How do I make new friends?; How do I say sorry?; How do I stay calm?; How do I wake up
early?; What is a good present for my mother?; What is the difference between weather and climate?;
What is the difference between a frog and a toad?; What is the difference between a planet and a
star?; What is the difference between a lake and a pond?; What is the meaning of life?; What is
happiness?; What is time?; What happens when water boils?; What happens at night?; What does a doctor
do?; What does an engineer do?; What does a judge do?; How does a car engine work?; How does a
computer work?; How does a plane fly?; How does a battery work?; How does the internet work?; How do
vaccines work?; How do plants grow?; How do birds find their way?; How is bread made?; How is paper
made?; How is chocolate made?; Name three colors.; Name five animals.; Name the planets.; Name the
months of the year.; Count from one to ten.; Say something nice.; Give me a word that rhymes with
cat.; Give me an idea for a story.; Give me a tip for an interview."""

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
TRAIN, TEST = 1792, 80  # prompts


def listed(text: str) -> list[str]:
    """Split a list at its semicolons."""
    return [" ".join(item.split()) for item in text.split(";")]


def questions() -> tuple[list[str], list[str]]:
    """Questions for training, and held-out ones, in random order."""
    random = Random(SEED)
    sets = []
    for own, topics, count in ((QUESTIONS, HELD_OUT_TOPICS, TEST), (REQUESTS, TOPICS, TRAIN)):
        filled = [form.format(topic) for form, topic in product(listed(TEMPLATES), listed(topics))]
        random.shuffle(filled)
        chosen = [*listed(own), *filled][:count]
        random.shuffle(chosen)
        sets.append(chosen)
    held, train = sets
    return train, held


def prompts(asked: list[str], tokenizer: Any) -> Iterator[str]:
    """Format questions by the chat template, every other one with the system prompt of the chat."""
    for number, question in enumerate(asked):
        chat = [{"role": "user", "content": question}]
        if number % 2 == 0:
            chat = [{"role": "system", "content": SYSTEM}, *chat]
        yield tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)


def write_prompts(folder: Path, tokenizer: Any, count: int = TRAIN) -> None:
    """Write train.jsonl, with `count` prompts, and test.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    train, held = questions()
    for name, asked in (("train", train[:count]), ("test", held)):
        lines = [json.dumps({"text": text}) for text in prompts(asked, tokenizer)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
