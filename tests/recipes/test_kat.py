"""recipes/kat: problems, votes of the agents, and its stages at a size without meaning."""

import json
import re
import sys
from collections import Counter
from random import Random

import pytest
from helpers.errors import raises_input_error
from helpers.llm_process import llm_server, server_log
from helpers.recipe_files import RECIPES, importing
from helpers.toy_thinking_model import save_toy_thinking_model

from vocalmtp.io.run_folder import JsonlStore
from vocalmtp.text.thinking import parse_reply

NAMES = (
    *("arithmetic", "agents", "chat_agent", "dual", "endpoint", "evaluate", "pass_rates"),
    *("report", "run", "speak"),
)


@pytest.fixture
def recipe(monkeypatch):
    with importing(monkeypatch, ("kat",), NAMES) as imported:
        yield imported


# -- problems --------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(1, 7))
def test_worked_solutions_end_with_the_right_answer(recipe, level):
    arithmetic = recipe("arithmetic")
    signs = {"plus": "+", "minus": "-", "times": "*"}
    for seed in range(60):
        problem = arithmetic.draw(Random(seed), level)
        if re.search("[0-9]", problem.prompt):
            start, *rest = problem.prompt.split()
            value, modulus = int(start), int(rest[-1]) if "modulo" in rest else None
            for name, operand in zip(rest[::2], rest[1::2], strict=True):
                if name != "modulo":
                    value = eval(f"{value}{signs[name]}{operand}")
                    value = value % modulus if modulus else value
            assert str(value) == problem.answer
        assert problem.thoughts.endswith(problem.answer)
        if level > 4:  # every step begins with the result of the one before
            steps = [re.split("[=,]", step) for step in problem.thoughts.split(";")]
            assert [list(map(len, step)) for step in steps] == [[3, 2, 1]] * (2 * level - 7)
            assert all(a[2] == b[0][0] for a, b in zip(steps, steps[1:], strict=False))
            assert all(eval(s[0]) == int(s[1]) and int(s[1]) % 10 == int(s[2]) for s in steps)


def test_solutions_are_worked_out_step_by_step(recipe):
    arithmetic = recipe("arithmetic")
    assert arithmetic.checked_steps(7, "+", 5) == "7+5=12;5+7=12;12"
    assert arithmetic.checked_steps(9, "-", 4) == "9-4=05;4+5=09;05"
    assert arithmetic.checked_steps(3, "*", 2) == "3*2=06;2*3=06;06"
    assert arithmetic.product_steps(612, 7) == "2*7=14+0=14;1*7=07+1=08;6*7=42+0=42;4284"


def test_spoken_and_written_questions_are_tokenized_alike(recipe):
    arithmetic = recipe("arithmetic")
    tokenizer = arithmetic.make_tokenizer()
    words = "What is six-hundred and twelve times 7?"
    assert tokenizer(words)["input_ids"] == tokenizer("six hundred twelve times 7")["input_ids"]
    for recognized in ("612 x 7", "612 \u00d7 7.", "612 * 7"):
        assert tokenizer(recognized)["input_ids"] == tokenizer("612 times 7")["input_ids"]
    assert (
        tokenizer("7 + 5 - 3")["input_ids"] == tokenizer("seven plus five minus three")["input_ids"]
    )
    text = arithmetic.solution(arithmetic.draw(Random(0), 4), thinks=True)
    decoded = tokenizer.decode(tokenizer(text)["input_ids"])
    assert decoded.replace(" ", "") == text.replace(" ", "")
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    for number in range(1000):
        spoken = tokenizer(f"{arithmetic.in_english(number)} plus")["input_ids"]
        assert spoken == tokenizer(f"{number} plus")["input_ids"]


def test_test_problems_are_not_in_the_textbook(recipe, tmp_path):
    recipe("arithmetic").write_problems(tmp_path, train=600, test=60)
    rows = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "test", "textbook", "textbook_valid")
    }
    hard = {row["thoughts"] for row in rows["test"] if row["level"] > 2}
    assert len(rows["test"]) == 60 and len(hard) > 15
    assert not hard & {row["thoughts"] for row in rows["train"]}
    book = "".join(row["answer"] for row in rows["textbook"])
    assert not any(f" {thoughts} " in book for thoughts in hard)
    assert len(rows["textbook"]) + len(rows["textbook_valid"]) == 600
    thinking = [row for row in rows["textbook"] if "<think>" in row["answer"]]
    assert 0.45 < len(thinking) / len(rows["textbook"]) < 0.58  # (1 / 8 + 9 / 10) / 2


# -- votes -----------------------------------------------------------------------------------------


def test_pass_rates_decide_the_mode(recipe):
    agents = recipe("agents")
    right, wrong = agents.Attempt("1+1=2", "2"), agents.Attempt("1+1=3", "3")

    def mode_of(off, on, answer="2", critic=agents.last_step_critic):
        found = agents.tag("1 plus 1", answer, off, on, critic, margin=0.1)
        return found and (found.mode, found.rates)

    assert mode_of([right, right], [right, right]) == ("off", (1.0, 1.0))
    assert mode_of([right, wrong], [right, right]) == ("on", (0.5, 1.0))
    assert mode_of([right, wrong], [right, wrong]) == ("off", (0.5, 0.5))
    assert mode_of([wrong, wrong], [wrong, wrong]) is None  # nobody is right
    assert mode_of([wrong, right], [right, right], critic=lambda *_: False) is None  # unverified
    # Without a known answer the majority decides.
    assert mode_of([wrong, wrong], [right, wrong], answer=None) == ("off", (1.0, 0.5))
    assert mode_of([agents.Attempt("", "")], [agents.Attempt("", "")], answer=None) is None


def test_intents_override_the_mode(recipe):
    agents = recipe("agents")
    question = agents.Tagged("1 plus 1", "2", "off", "1+1=2", (1.0, 1.0))
    unverified = agents.Tagged("1 plus 1", "2", "off", "", (1.0, 1.0))
    rows = agents.cold_start_rows([question] * 400 + [unverified] * 50, 0.25, 0.25)
    replies = [parse_reply(row["answer"]) for row in rows]
    kinds = Counter((r.mode, r.judge, r.problem) for r in replies[:400])
    asked = kinds["on", "as asked", ""] + kinds["off", "as asked", ""]
    assert asked == pytest.approx(100, abs=30) and kinds["on", "as asked", ""] > 30
    assert kinds["on", "many steps", ""] == pytest.approx(100, abs=30)
    assert (
        sum(kinds.values())
        == asked + kinds["on", "many steps", ""] + kinds["off", "single step", ""]
    )
    assert {reply.mode for reply in replies[400:]} == {"off"}
    intents = {(row["prompt"].split()[0], r.mode) for row, r in zip(rows, replies, strict=True)}
    assert intents == {("think", "on"), ("answer", "off"), ("1", "on"), ("1", "off")}


# -- agents ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url():
    with llm_server() as address:
        yield address


@pytest.mark.parametrize(("critic", "kept"), [("agrees", 1), ("fine", 0)])
def test_agents_behind_an_endpoint_make_dual_data(recipe, url, tmp_path, critic, kept):
    dual, store = recipe("dual"), JsonlStore(tmp_path / "attempts.jsonl")
    roles = {"solver": "solves", "thinker": "works", "critic": critic}
    settings = {
        "questions": 1,
        "takes": 2,
        "margin": 0.1,
        "thinking": 0.4,
        "intents": 0.0,
        "others": 0.0,
    }
    settings |= {r: {"agent": f"endpoint={url}", "model": m} for r, m in roles.items()}
    rows = [{"prompt": "7 plus 5", "answer": "12"}]
    found = dual.tag_questions(dual.DualRecipe(**settings), rows, store)
    tags = [(question.mode, question.thoughts, question.rates) for question in found]
    assert tags == [("on", "7+5=12", (0.0, 1.0))] * kept
    requests = server_log(url)["requests"]
    assert {r["model"] for r in requests} >= set(roles.values())
    # The attempts are stored: agents that are gone by now are not asked again.
    settings["solver"] = settings["thinker"] = {
        "agent": "endpoint=http://127.0.0.1:9",
        "model": "x",
    }
    again = JsonlStore(tmp_path / "attempts.jsonl")
    assert dual.tag_questions(dual.DualRecipe(**settings), rows, again) == found


def test_an_agent_that_fails_at_a_question_loses_that_one_alone(recipe, url):
    recipe("dual")
    agents = recipe("agents")
    broken = agents.AGENTS.create(f"endpoint={url}", thinks=True, model="garbage")
    assert broken.attempt(["7 plus 5"], 2, 0) == [[agents.Attempt("", "")] * 2]
    with raises_input_error("unusable", key="agent"):
        agents.AGENTS.create("endpoint=http://127.0.0.1:9", model="x").attempt(["1"], 1, 0)
    for spec in ("endpoint", "local", "chat"):
        with raises_input_error("missing"):
            agents.AGENTS.create(spec, thinks=False, model=None)
    with raises_input_error("unknown_name"):
        agents.AGENTS.create("oracle", thinks=False, model=None)


def test_a_chat_model_is_shown_solved_problems(recipe, tmp_path, monkeypatch, capsys):
    chat_agent, pass_rates = recipe("chat_agent"), recipe("pass_rates")
    folder = save_toy_thinking_model(tmp_path / "toy")
    prompts = {}
    for thinks in (False, True):
        agent = chat_agent.load_chat_agent(str(folder), thinks=thinks)
        prompts[thinks] = agent.generator.tokenizer.decode(agent.encode("seven plus five"))
        assert prompts[thinks].strip().endswith("seven plus five")
        assert prompts[thinks].count("<answer>") == len(chat_agent.EXAMPLES)
    assert "<think>" in prompts[True] and "<think>" not in prompts[False]
    rows = [{"prompt": "seven plus five", "answer": "twelve", "level": n} for n in range(1, 7)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["pass_rates.py", str(tmp_path / "test.jsonl"), "--agent", f"chat={folder}"]
    monkeypatch.setattr(sys, "argv", command)
    pass_rates.main()
    table = capsys.readouterr().out.splitlines()
    assert "level 6" in table[0] and "after thinking" in table[3]


# -- stages ----------------------------------------------------------------------------------------


def test_stages_run_and_resume(recipe, tmp_path, monkeypatch):
    pytest.importorskip("trl")
    run = recipe("run")
    stages = ["problems", "teacher", "distilled", "dual", "cold_start", "srpo"]
    monkeypatch.chdir(tmp_path)
    command = ["run.py", "--work", str(tmp_path / "kat"), "--smoke", "--only", *stages]
    monkeypatch.setattr(sys, "argv", command)
    run.main()
    text = (tmp_path / "kat" / "report.md").read_text()
    assert "| teacher | at once |" in text and "| distilled | with steps |" in text
    assert "## Distillation, equal steps" in text and "| srpo | 1 | free |" in text
    assert (tmp_path / "kat" / "learning.png").stat().st_size > 5000
    before = (tmp_path / "kat" / "runs" / "srpo" / "log.jsonl").read_bytes()
    run.main()
    assert (tmp_path / "kat" / "runs" / "srpo" / "log.jsonl").read_bytes() == before


def test_a_model_is_asked_aloud(recipe, tmp_path, monkeypatch, capsys):
    pytest.importorskip("silero_vad")
    pytest.importorskip("pocketsphinx")
    model = save_toy_thinking_model(tmp_path / "toy")
    monkeypatch.setattr(sys, "argv", ["speak.py", str(model), "--recognizer", "pocketsphinx"])
    speak = recipe("speak")
    monkeypatch.setattr(speak, "REPEATS", 1)
    speak.main()
    rows = json.loads((model / "conversation.json").read_text())
    assert len(rows) == len(speak.QUESTIONS)
    printed = capsys.readouterr().out
    for row in rows:
        assert row["answer"] and row["answer"] in printed
        assert 0 < row["first text, s"] <= row["first sound, s"]


def test_claims_are_checked_level_by_level(recipe):
    report = recipe("report")

    def mode(right, thinks, tokens):
        levels = {
            level: {"right": r, "thinks": t, "tokens": tokens, "broken": 0.0}
            for level, r, t in zip(report.LEVELS, right, thinks, strict=True)
        }
        everything = {"right": sum(right) / 6, "thinks": 0, "tokens": tokens, "broken": 0.0}
        return levels | {"all": everything}

    modes = {
        "free": mode([1, 1, 0.9, 1, 1, 1], [0.02, 0.05, 0.5, 0.97, 1, 1], 30),
        "off": mode([1, 1, 0.95, 0.2, 0.1, 0.1], [0] * 6, 10),
        "on": mode([1] * 6, [1] * 6, 50),
    }
    table = report.claims_table({"srpo": [{"modes": modes}]})
    cells = [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")]
    expected = ["srpo", "levels 4, 5, 6", "at least 97%", "at most 50%", "-1.7", "0.60 x"]
    assert cells == expected


def test_readme_names_every_stage(recipe):
    text = (RECIPES / "kat" / "README.md").read_text()
    assert all(stage in text for stage in recipe("run").STAGES)
