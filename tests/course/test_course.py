"""What all exercises have in common: seeds, checking, and how they show themselves."""

import json
from html.parser import HTMLParser

import pytest

from kernmalloc import Machine, Profile
from kernmalloc.course import EXERCISES, Question, exercise, read_answers
from kernmalloc.course.shape import Exercise, unfolded
from kernmalloc.inputs.errors import InputError

NUMBERS = range(1, len(EXERCISES) + 1)


@pytest.fixture(scope="module")
def made() -> dict[int, list[Exercise]]:
    """Two seeds of each exercise."""
    return {number: [exercise(number, seed) for seed in (1, 2)] for number in NUMBERS}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_seed_is_an_exercise_and_another_one_another(made, number):
    one, other = made[number]
    assert exercise(number) == exercise(number, 1) == one
    assert one.text != other.text and one.title == other.title
    assert [q.answer for q in one.questions] != [q.answer for q in other.questions]


@pytest.mark.parametrize("number", NUMBERS)
def test_answers_are_checked(made, number):
    one, _ = made[number]
    right = [question.answer for question in one.questions]
    assert one.check(right) == [True] * len(right)
    assert one.check([str(answer) for answer in right]) == [True] * len(right)
    assert one.check(["-"] * len(right)) == [False] * len(right)
    for at, question in enumerate(one.questions):
        wrong = next((c for c in question.choices if c != question.answer), 10**9)
        assert one.check([*right[:at], wrong, *right[at + 1 :]]) == [n != at for n in range(len(right))]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_machine_and_the_profile_are_what_a_page_boots(made, number):
    for each in made[number]:
        machine = each.machine if "memory" not in each.machine else ""
        assert Machine.shipped(machine) if machine else Machine.from_toml(each.machine).ram
        assert Profile.parse(each.profile).summary


@pytest.mark.parametrize("number", NUMBERS)
def test_questions_are_plain(made, number):
    """A prompt is one sentence or more, with a unit; a choice is one of several; a reason is told; nothing is odd."""
    for each in made[number]:
        assert 5 <= len(each.questions) <= 8 and each.number == number
        for question in each.questions:
            assert question.prompt.endswith((".", "?")) and question.why.endswith(".") and question.unit
            assert (question.unit == "choice") == bool(question.choices)
            assert not question.choices or question.answer in question.choices
            assert isinstance(question.answer, str) or question.answer >= 0
        assert all(part.startswith("  ") or "\n" not in part for part in each.paragraphs)


def test_answers_are_left_out_of_json_unless_they_are_asked_for(made):
    for one, _ in made.values():
        hidden, told = (json.loads(json.dumps(one.as_json(answers))) for answers in (False, True))
        assert all(set(question) == {"prompt", "unit", "choices"} for question in hidden["questions"])
        assert [question["answer"] for question in told["questions"]] == [q.answer for q in one.questions]
        assert set(told) == {"number", "title", "seed", "text", "questions", "machine", "profile"}


def question(answer: int | str, *choices: str) -> Question:
    return Question(prompt="?", unit="frames", answer=answer, why="", choices=choices)


@pytest.mark.parametrize(
    "answer, given, right",
    [
        (1234, "1234", True), (1234, "1,234", True), (1234, "0x4d2", True), (1234, "0X4D2", True), (1234, 1234, True),
        (1234, "1235", False), (1234, "-1234", False), (8, "08", True), (0, "0", True), (0, "-", False),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(answer, given, right):
    assert question(answer).holds(given) is right


@pytest.mark.parametrize("given", ["", "x", "1.5", "12,5", "1,23", "0b11", "1e3", "--1", "1 2", "٣"])
def test_what_is_no_number_is_refused(given):
    with pytest.raises(ValueError, match="is no whole number"):
        question(3).holds(given)


def test_choices_in_any_case():
    asked = question("NO_FRAMES", "OK", "NO_FRAMES")
    assert asked.holds("no_frames") and asked.holds(" NO_FRAMES ") and not asked.holds("ok") and not asked.holds("-")
    with pytest.raises(ValueError, match="'maybe' is none of OK, NO_FRAMES"):
        asked.holds("maybe")


def test_what_is_wrong_is_told_in_one_line(made):
    one, _ = made[3]
    for call, why in (
        (lambda: exercise(0), "exercise 0: no such exercise (1 to 8)"),
        (lambda: exercise(9), "exercise 9: no such exercise (1 to 8)"),
        (lambda: exercise(1, -1), "seed -1: a seed is no negative number (0 or more)"),
        (lambda: one.check([1]), "exercise 3: 5 questions, 1 answers (one for each question, - for none)"),
        (lambda: one.check([1, 2, "three", 4, 5]), "exercise 3: answer 3: 'three' is no whole number (Which is"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value).startswith(why) and "\n" not in str(caught.value)


def test_answers_in_a_file():
    assert read_answers("12 # frames\n\n  1,234\tlist\n# none\n-\n") == ["12", "1,234", "list", "-"]


def test_a_text_is_a_line_for_each_paragraph():
    assert unfolded("\none\ntwo\n\n  a map\n  of it\n\nthree\n") == "one two\n\n  a map\n  of it\n\nthree"


class Tags(HTMLParser):
    """What tags a text has; all that are opened are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_notebook_shows_it_with_answers_to_open(made):
    for one, _ in made.values():
        tags = Tags()
        tags.feed(one._repr_html_())
        assert not tags.open and tags.seen.count("details") == len(one.questions)
        assert all(question.prompt in tags.words and question.why in tags.words for question in one.questions)


def test_text_in_html_is_text():
    odd = Exercise(
        number=1,
        title="<b>",
        seed=1,
        text="a < b & c",
        questions=(question("<i>", "<i>", "&"),),
        machine="",
        profile="",
    )
    tags = Tags()
    tags.feed(odd._repr_html_())
    assert {"b", "i"} & set(tags.seen) == set() and "a < b & c" in tags.words and "<b>" in tags.words
