"""`kernmalloc exercise`."""

import json

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.course import EXERCISES, exercise
from kernmalloc.inputs.errors import InputError


def run(*words):
    return CliRunner().invoke(app, ["exercise", *words])


def test_all_are_listed():
    done = run()
    assert done.exit_code == 0
    for number, each in enumerate(EXERCISES, 1):
        assert f"{number}  {each.TITLE}\n" in done.stdout
    listed = [json.loads(line) for line in run("--json").stdout.splitlines()]
    assert listed == [{"number": number, "title": each.TITLE} for number, each in enumerate(EXERCISES, 1)]


def test_the_question_comes_without_its_answers():
    asked = exercise(3, 7)
    done, told = run("3", "--seed", "7"), run("3", "--seed", "7", "--answer")
    assert done.exit_code == told.exit_code == 0
    assert done.stdout.startswith("Exercise 3: Fragmentation and moving pages, seed 7\n")
    for number, question in enumerate(asked.questions, 1):
        assert f"{number}. {question.prompt.split()[0]}" in done.stdout
        assert question.why.split(".")[0][:60] not in done.stdout
        assert f"    {question.answer:,}: {question.why.split()[0]}" in told.stdout
    assert all(row in done.stdout for row in asked.text.split("\n") if row.startswith("  "))


def test_json_is_the_exercise():
    asked = exercise(3, 7)
    assert json.loads(run("3", "--seed", "7", "--json").stdout) == json.loads(json.dumps(asked.as_json(answers=False)))
    told = json.loads(run("3", "--seed", "7", "--json", "--answer").stdout)
    assert told == json.loads(json.dumps(asked.as_json(answers=True)))


def test_answers_are_checked(tmp_path):
    right = [str(question.answer) for question in exercise(3).questions]
    done = run("3", "--check", " ".join(right))
    assert done.exit_code == 0 and done.stdout.endswith("Exercise 3, seed 1: 5 of 5 right\n")
    file = tmp_path / "answers.txt"
    file.write_text("\n".join([*right[:4], "- # ran out of time"]))
    done = run("3", "--check", str(file))
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [*[f"{n}. right" for n in (1, 2, 3, 4)], "5. wrong", done.stdout.splitlines()[5]]
    told = run("3", "--check", str(file), "--answer")
    assert told.exit_code == 1 and f"5. wrong\n    {right[4]}: " in told.stdout
    as_json = run("3", "--check", str(file), "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == {"number": 3, "seed": 1, "right": [True] * 4 + [False]}


@pytest.mark.parametrize(
    "words, why",
    [
        (("9",), "exercise 9: no such exercise (1 to 8)"),
        (("0",), "exercise 0: no such exercise (1 to 8)"),
        (("--answer",), "exercise: none is named (a number from 1 to 8)"),
        (("--check", "1"), "exercise: none is named (a number from 1 to 8)"),
        (("3", "--check", ""), "exercise 3: 5 questions, 0 answers (one for each question, - for none)"),
        (("3", "--check", "1 2 3 4 5.5"), "exercise 3: answer 5: '5.5' is no whole number ("),
    ],
)
def test_what_is_wrong_is_told(words, why):
    done = run(*words)
    assert isinstance(done.exception, InputError) and str(done.exception).startswith(why)


@pytest.mark.parametrize("words", [("x",), ("1", "--seed", "-1"), ("1", "--seed", "much"), ("1", "2")])
def test_what_is_no_number_is_told(words):
    done = run(*words)
    assert done.exit_code == 2 and done.stdout == ""
