"""How commands end: in one line and an exit status, whatever is done to them and whoever listens."""

import errno
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from kernmalloc.cli.output import INTERRUPTED, UNREAD, write_whole
from kernmalloc.inputs.errors import InputError
from kernmalloc.lang import objects
from kernmalloc.machine.memory_map import shipped_names

COMMAND = [sys.executable, "-c", "from kernmalloc.cli import main; main()"]
LOG = "BIOS-e820: [mem 0x0000000000000000-0x0000000003ffffff] usable\n"
EVIL = "a\\n/dev/null: booted: all assertions held\\u001b]0;title\\u0007\\u202e\\u0085\\u009b2J"
MACHINE = f'name = "{EVIL}"\nmemory = [{{ base = 0, size = 0x4000000, kind = "ram" }}]\n'


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What is built once is built: a command that builds says so, too."""
    for life in ("raw", "soft"):
        objects.built(life)


def run(*words, **kept):
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, **kept)


def shell(line, **kept):
    """A command line of bash, in which `kernmalloc` is the command."""
    script = f'kernmalloc() {{ {shlex.join(COMMAND)} "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, **kept)


def shows_only(text):
    return {unicodedata.category(character) for character in text if character != "\n"}.isdisjoint({"Cc", "Cf", "Zl"})


@pytest.mark.parametrize("command", [("check",), ("boot",), ("plan",), ("plan", "twice")])
def test_a_name_commands_no_terminal(tmp_path, command):
    """A machine's name that would forge a verdict, set the title or turn the line around is shown as what it is."""
    file = tmp_path / "evil\x1b[2J\nboot: held"
    file.write_text(MACHINE)
    files = [str(file)] * (2 if "twice" in command else 1)
    done = run(*(word for word in command if word != "twice"), *files)
    assert done.returncode == 0 and shows_only(done.stdout + done.stderr), done
    assert not any(line.strip().startswith(("/dev/null", "boot: held")) for line in done.stdout.splitlines())
    if command in (("check",), ("plan",)):
        found = run(command[0], "--json", *files)
        assert shows_only(found.stdout)
        assert json.loads(found.stdout)["machine"] == json.loads(f'"{EVIL}"')


def test_a_file_that_is_not_there_is_named_in_one_line():
    for words in (("check", "no\n\x1b[1mfile"), ("boot", "no\n\x1b[1mfile", "--kernel", "a\nb"), ("run", "no\nrun")):
        done = run(*words)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and shows_only(done.stderr), done.stderr


@pytest.mark.parametrize("json_too", [False, True])
def test_a_name_that_the_terminal_lacks_characters_for(tmp_path, json_too):
    file = tmp_path / "machine.toml"
    file.write_text(MACHINE.replace(EVIL, "M\u00fcnchen \u2192 \U0001f4a9"), encoding="utf-8")
    done = run("check", str(file), *["--json"] * json_too, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == "" and r"M\u00fcnchen \u2192 \ud83d\udca9" in done.stdout
    if json_too:
        assert json.loads(done.stdout)["machine"] == "M\u00fcnchen \u2192 \U0001f4a9"


def test_a_file_whose_name_is_not_utf_8(tmp_path):
    file = os.fsencode(tmp_path) + b"/\xff.log"
    with open(file, "w") as log:
        log.write(LOG)
    assert "\\udcff.log: nothing wrong" in run("check", file).stdout
    assert json.loads(run("check", "--json", file).stdout)["file"] == os.fsdecode(file)


@pytest.mark.parametrize("words", ["check - -", "boot - -", "compare - -", "replay - -"])
def test_standard_input_is_named_once(words):
    done = run(*words.split(), input=LOG)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "-: standard input can be read only once (name it once)\n"


@pytest.mark.parametrize("words", ["check -", "plan -", "compare -", "replay -"])
def test_closed_standard_input_is_one_line(words):
    done = shell(f"kernmalloc {words} <&-")
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 2 and len(said) == 1 and "standard input is closed (name a file)" in said[0], done


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_output_is_no_error(tmp_path, closed):
    (tmp_path / "log").write_text(LOG)
    done = shell(f"kernmalloc boot '{tmp_path}/log' {closed}")
    assert done.returncode == 0 and done.stderr == "", done
    assert ("booted" in done.stdout) == (">&-" not in closed.split())


@pytest.mark.parametrize(
    "words", ["--help", "plan --help", "--version", "", "check desktop-16g", "frob", "plan --capacity"]
)
@pytest.mark.parametrize("pipe", ["|", "|&"])
def test_who_has_seen_enough_is_told_nothing(words, pipe):
    """Nobody reads at all: whatever is printed, and to whichever of the streams."""
    done = shell(f"kernmalloc {words} {pipe} exec true; exit ${{PIPESTATUS[0]}}")
    assert done.stderr == "" or (pipe == "|" and words == "frob"), done.stderr
    assert done.returncode in (UNREAD, 2) or words == "frob"


def test_a_full_disk_is_one_line():
    done = shell("kernmalloc check desktop-16g >/dev/full")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left on device" in done.stderr
    assert shell("kernmalloc --version >/dev/full").stderr.count("Traceback") == 0


def begun(process):
    """Wait until a process, or a child of it, has a machine's memory or has printed something."""
    pid = process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(600):
        pids = [pid, *children.read_text().split()]
        if any("memfd:kernmalloc" in Path(f"/proc/{each}/maps").read_text() for each in pids):
            return
        if select.select([process.stdout], [], [], 0.1)[0]:
            return
    raise TimeoutError


def heed_interrupts() -> None:
    """In a new process: an interrupt counts, though whoever runs the tests in the background may ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "many", "--processes", "2"),
        ("run", "storm", "--touches", "2000000000"),
        ("boot", "desktop-16g", "--mode", "twin"),
        ("plan", *["desktop-16g"] * 3000),
    ],
)
def test_ctrl_c_is_one_line(tmp_path, words):
    """The terminal sends it to all processes. It comes when the work has begun."""
    many = tmp_path / "many"  # of different sizes, so that each needs plans of its own
    many.write_text("".join(f'{{"ram": {(64 + number) << 20}, "bars": []}}\n' for number in range(2000)))
    words = [str(many) if word == "many" else word for word in words]
    with subprocess.Popen(
        [*COMMAND, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        try:
            begun(process)
            os.killpg(process.pid, signal.SIGINT)
            said = process.communicate(timeout=20)[1]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == INTERRUPTED
        assert re.fullmatch(r"\s*kernmalloc: interrupted\n", said), said


def test_the_first_line_says_which_machine_it_is():
    """Where this computer hides its memory map a shipped machine stands in, and nobody takes it for this one."""
    first = run("check").stdout.splitlines()[0]
    assert first.startswith(("This computer, from ", "Not this computer but the shipped machine "))


def test_shipped_machines_are_named_wherever_a_machine_is():
    name = shipped_names()[0]
    for words in (
        ("boot", name),
        ("plan", name),
        ("check", name),
        ("plan", name, "--devices", name),
    ):
        done = run(*words)
        assert done.returncode == 0 and done.stderr == "", done
    for words in (("boot", "nosuch"), ("check", "nosuch"), ("plan", "nosuch"), ("compare", "nosuch")):
        done = run(*words)
        assert done.returncode == 2 and f"(shipped machines are {name}, " in done.stderr, done


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path, monkeypatch):
    """A link stays one, what is no plain file is written to, and nothing else is left in the folder."""
    file, link, pipe = tmp_path / "made", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(file)
    write_whole(str(link), "header", "äöü \udc80\n")
    assert file.read_bytes() == "äöü ".encode() + b"\x80\n" and link.is_symlink()
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        write_whole(str(pipe), "header", b"through")
        assert reader.read() == b"through" and pipe.is_fifo()
    for name in (tmp_path / "none" / "made", tmp_path, "a\0b"):
        with pytest.raises(InputError, match=r"^--header .*name a file to write"):
            write_whole(str(name), "header", "x")
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(InputError, match="No space left"):
            write_whole(str(file), "header", b"new")
    assert file.read_bytes().endswith(b"\x80\n") and {path.name for path in tmp_path.iterdir()} == {
        "made",
        "link",
        "pipe",
    }
