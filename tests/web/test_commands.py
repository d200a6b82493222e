"""Pages: `--html FILE` and `show`. What the kernel in them does is tests/web/test_kernel.py's."""

import json
import re

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app, page
from kernmalloc.inputs.errors import InputError
from kernmalloc.lang import objects, wasm
from kernmalloc.web.page import MOST

COMMANDS = {
    "boot": "boot desktop-16g --kernel eros2",
    "plan": "plan desktop-16g --kernel coyotos-i386 --with 24GiB",
    "run": "run dma --touches 500",
    "replay": "replay tests/data/traces/gcc.tracefs.txt",
    "tlb": "tlb m5475-64m",
    "exercise": "exercise 2 --seed 3",
}


def invoked(*words: str):
    return CliRunner().invoke(app, list(words))


DAY = ("boot", "exercise")


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=[] if name in DAY else [pytest.mark.nightly]) for name in COMMANDS]
)
def test_a_command_writes_its_page(page_of, tmp_path, command) -> None:
    file = tmp_path / "page.html"
    plain = invoked(*COMMANDS[command].split())
    done = invoked(*COMMANDS[command].split(), "--html", str(file))
    assert done.exit_code == 0, done.output
    texts = [" ".join(re.sub(r"\d", "", each.stdout).split()) for each in (done, plain)]  # times are longer or shorter
    assert texts[0][:200] == texts[1][:200]
    html = file.read_text()
    assert len(html.encode()) < MOST
    shown = page_of(html)
    shown.wait_for_selector("body[data-drawn]", timeout=60_000)
    headings = shown.locator("h2").all_inner_texts()
    assert headings and len(headings) == len(set(headings))
    if command != "replay":
        shown.wait_for_selector("body[data-booted]", timeout=60_000)
    assert shown.locator("[role=alert]").count() == 0


def test_a_newcomers_questions_are_answered_as_text(page_of, tmp_path) -> None:
    file = tmp_path / "page.html"
    words = ["plan", "desktop-16g", "--kernel", "coyotos-i386"]
    assert invoked(*words, "--html", str(file)).exit_code == 0
    booted = json.loads(invoked("boot", *words[1:], "--json").stdout)
    shown = page_of(file.read_text())
    shown.wait_for_selector("body[data-booted]", timeout=60_000)
    text = shown.locator("main").inner_text()
    assert "What is donated?" in text and f"Why exactly {booted['donation']['frames']:,} frames?" in text
    assert "24GiB" in text or "24 GiB" in text
    assert "refused" in text
    frames = shown.evaluate("Number(kernel.state.kern.donation_frames)")
    assert frames == booted["donation"]["frames"]


def test_an_exercise_is_answered_in_its_page(page_of, tmp_path) -> None:
    file = tmp_path / "page.html"
    assert invoked("exercise", "2", "--seed", "3", "--html", str(file)).exit_code == 0
    asked = json.loads(invoked("exercise", "2", "--seed", "3", "--answer", "--json").stdout)
    shown = page_of(file.read_text())
    for question, field in zip(asked["questions"], shown.locator(".questions :is(input, select)").all(), strict=True):
        if question["choices"]:
            field.select_option(str(question["answer"]))
        else:
            field.fill(f"{question['answer']:,}")
    shown.locator(".questions input").first.fill("0")
    shown.get_by_role("button", name="check the answers").click()
    count = len(asked["questions"])
    assert f"{count - 1} of {count} are right." in shown.locator("main").inner_text()
    assert shown.locator(".verdict").first.inner_text() == "wrong"


def test_show_opens_a_page(monkeypatch, tmp_path) -> None:
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda name: opened.append(name) or True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = invoked("show", "m5475-64m")
    assert done.exit_code == 0 and done.stdout.endswith(": opened\n")
    (file,) = tmp_path.glob("*/*.html")
    assert opened == [file.as_uri()] and "coyotos-coldfire" in file.read_text()


def test_what_cannot_be_written_is_said_in_one_line(monkeypatch, tmp_path) -> None:
    file = str(tmp_path / "page.html")
    done = invoked("boot", "desktop-16g", "m5475-64m", "--html", file)
    assert done.exit_code == 2 and "a page is of one, and there are several (name one)" in done.output
    monkeypatch.setattr(objects, "_shipped", lambda life: None)
    monkeypatch.setattr(objects.cache, "found", lambda name: None)
    monkeypatch.setattr(wasm.shutil, "which", lambda name: None)
    with pytest.raises(wasm.NoLinker) as refused:
        wasm.module(b"")
    assert "apt install lld" in str(refused.value)

    def lacking() -> None:
        raise objects.BuildError(str(refused.value))

    monkeypatch.setattr("kernmalloc.cli.progress.load_module", lacking)
    with pytest.raises(InputError) as said:
        page.can_write(file)
    assert str(said.value) == f"--html {file}: {refused.value}"
    assert not list(tmp_path.iterdir())
