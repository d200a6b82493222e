"""`kernmalloc emulate`: what it takes, what it says, how it ends."""

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
RUN = "import sys; from kernmalloc.cli import main; sys.argv[0] = 'kernmalloc'; main()"


def emulate(*words, path=None):
    environment = None if path is None else {"PATH": path}
    command = [sys.executable, "-c", RUN, "emulate", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def kernel(folder, makefile):
    """An example of one's own."""
    (folder / "Makefile").write_text(makefile)
    return str(folder)


SAYS = "tools:\n\t@echo sh\nprofile:\n\nall:\n\ncommand:\n\t@echo \"printf '{}'\"\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing-like-that",), "no such example kernel (one of aarch64, "),
        (("i386", "--memory", "much"), "--memory much: not a size"),
        (("i386", "--memory", "1MiB"), "--memory 1 MiB: too little"),
        (("i386", "--cpus", "0"), "--cpus"),
        (("i386", "--dump", "/nowhere/at/all"), "/nowhere/at: no such folder"),
    ],
)
def test_what_cannot_be_is_one_line(words, told):
    done = emulate(*words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and told in done.stderr, done.stderr


def test_a_machine_that_is_what_it_is_takes_no_other_memory(tmp_path):
    done = emulate(kernel(tmp_path, SAYS.format("status 0")), "--memory", "1GiB")
    assert done.returncode == 2 and "is what it is" in done.stderr


def test_a_missing_tool_is_named_with_its_package(tmp_path):
    for tool in ("make", "sh", "echo"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = emulate("coldfire", path=str(tmp_path))
    assert (
        done.returncode == 2 and "m68k-linux-gnu-gcc is not installed (apt install gcc-m68k-linux-gnu)" in done.stderr
    )


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        ("hello\\nstatus 0", 0, ""),
        ("hello\\nstatus 3", 1, "the kernel ended with status 3"),
        ("hello", 2, "it ended before its program did (hello)"),
        ("heap: what", 2, "not what an example kernel says"),
    ],
)
def test_how_a_kernel_ends_is_how_it_ends(said, status, told, tmp_path):
    done = emulate(kernel(tmp_path, SAYS.format(said)))
    assert done.returncode == status and told in done.stdout + done.stderr
    assert done.stdout.startswith(said.split("\\n")[0])


def test_a_kernel_that_does_not_come_to_its_memory_is_not_compared(tmp_path):
    made = SAYS.format("no window\\nstatus 3").replace("profile:\n", "profile:\n\t@echo eros2\n")
    done = emulate(kernel(tmp_path, made))
    assert (done.returncode, done.stderr) == (1, "") and done.stdout.endswith("the kernel ended with status 3\n")


def test_what_the_build_says_is_told(tmp_path):
    broken = SAYS.format("").replace("all:\n", "all:\n\t@echo 'kernel.c:1: error: no kernel'; exit 1\n")
    done = emulate(kernel(tmp_path, broken))
    assert done.returncode == 2 and done.stderr.endswith("kernel.c:1: error: no kernel\n")
