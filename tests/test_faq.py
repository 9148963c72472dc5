"""Every question of the FAQ has a short answer, with a program that prints what the page says that it prints."""

import re

import jax
import pytest

from tests.sources import ROOT, anchor

PAGE = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
ANSWERS = dict(re.findall(r"^### ([^\n]*)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
# Where the number is not the same everywhere, its comment is a sentence.
UNSTEADY = ["Is it faster on my GPU or TPU?"]


def test_every_question_of_the_list_has_a_short_answer_and_a_program():
    listed = dict(re.findall(r"^- \[(.*)\]\(#(.*)\)$", PAGE, re.MULTILINE))
    assert listed
    assert list(listed) == list(ANSWERS)
    for question, link in listed.items():
        assert link == anchor(question)
        text, block, rest = re.fullmatch(r"\n(.*?)\n\n```python\n(.*?)```\n(.*)", ANSWERS[question], re.DOTALL).groups()
        assert 0 < len(text.splitlines()) <= 8, question
        assert re.search(r"\]\([\w/.-]+\.md", text), f"{question}: no page that says more"
        assert re.search(r"print\(.*\)  # \S", block), question
        assert not rest.strip(), question


@pytest.mark.slow
@pytest.mark.parametrize("question", ANSWERS)
def test_the_program_of_an_answer_prints_what_stands_behind(question, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", ANSWERS[question], re.DOTALL)
    # The promotion that users have.
    with jax.numpy_dtype_promotion("standard"):
        exec(compile(block, question, "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    said = [line for comment in re.findall(r"print\(.*\)  # (.*)", block) for line in comment.split(", then ")]
    assert len(printed) == len(said)
    if question not in UNSTEADY:
        assert printed == said
