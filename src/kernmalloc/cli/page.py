"""What commands share that write a page, `--html FILE`: one file without network, in which the kernel itself runs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernmalloc.cli.output import complain, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernmalloc.facade.profile import Profile
    from kernmalloc.machine.memory_map import Machine, Range
    from kernmalloc.web.page import Part

Html = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Write one page, without network, in which the kernel itself runs (docs/pages.md).",
        show_default=False,
    ),
]


def can_write(file: str, alone: bool = True) -> None:
    """Build the module of the kernel that pages hold, if this version has none yet.  Raises InputError where it cannot
    be built, or there are several of what a page shows one of."""
    from kernmalloc.cli.progress import load_module
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.lang.objects import BuildError

    if not alone:
        raise InputError(f"--html {file}", 0, "a page is of one, and there are several", "name one")
    try:
        load_module()
    except BuildError as error:
        raise InputError(f"--html {file}", 0, str(error)) from None


def kernel_in(machine: "Machine", profile: "Profile") -> dict[str, Any] | None:
    """The kernel that a page boots; None, and a line says why, where it cannot be booted here."""
    from kernmalloc.facade.errors import TooLarge, TooSmall
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.web.kernel import kernel_data

    try:
        return kernel_data(machine, profile)
    except (TooLarge, TooSmall, LifeError) as error:
        complain(f"kernmalloc: the page has no kernel to step: {error}")
        return None


def machine_parts(
    machine: "Machine", profile: "Profile", more: "Sequence[Range]", line: str, booted: bool
) -> "list[Part]":
    """What a page shows of one kernel on one machine: the kernel, if it boots, and the plan. `line` is the boot line
    that takes the plan's advice."""
    from kernmalloc.facade.errors import TooSmall
    from kernmalloc.plan.advice import advise
    from kernmalloc.plan.plan import plan
    from kernmalloc.web.page import KERNEL
    from kernmalloc.web.plan import plan_part, refused_part

    try:
        made = plan(machine, profile, more)
    except TooSmall as error:
        return [refused_part(machine, profile, str(error), more)]
    return [*(KERNEL if booted else ()), plan_part(made, advise(made), line, more)]


def write_machine(file: str, machine: "Machine", profile: "Profile", more: "Sequence[Range]", line: str) -> None:
    """Write the page of one kernel on one machine.  Raises InputError."""
    from kernmalloc.report.machine import opening

    kernel = kernel_in(machine, profile)
    parts = machine_parts(machine, profile, more, line, kernel is not None)
    name = machine.name or machine.file
    write(file, f"Kernel {profile.name} on {name}", list(opening(machine, "")), parts, kernel)


def write(
    file: str, title: str, intro: "Sequence[str]", parts: "Sequence[Part]", kernel: dict[str, Any] | None
) -> None:
    """Write a page.  Raises InputError."""
    from kernmalloc.web.page import page

    write_whole(file, "html", page(title, intro, parts, kernel))
