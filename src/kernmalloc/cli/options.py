"""Options that several commands share, each written once.

A command whose parameter is made by a function (`made_by`) takes that function's options in its place.
"""

from collections.abc import Callable
from enum import StrEnum
from inspect import Parameter, Signature, signature
from typing import Annotated, TypeVar

import typer


class Mode(StrEnum):
    """How the kernel's code runs."""

    raw = "raw"
    soft = "soft"
    twin = "twin"


class CompiledMode(StrEnum):
    """How it runs where nobody would wait for it interpreted."""

    raw = "raw"
    soft = "soft"


AnyMode = Annotated[Mode, typer.Option(help="Its code: compiled, compiled with page walks, or interpreted.")]
KernelName = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE.toml",
        help="The kernel: a shipped profile, or yours. By default that of the machine's own architecture.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per machine (docs/json.md).")]
Seed = Annotated[int | None, typer.Option(min=0, max=1 << 62, help="Seed, not the scenario's.", show_default=False)]
Touches = Annotated[
    int | None, typer.Option(min=1, max=1 << 31, help="Page touches, not the scenario's.", show_default=False)
]
Perfetto = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Write what happened over time as a trace for ui.perfetto.dev (docs/watching.md).",
        show_default=False,
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=N", help="Take more of an input: lines=5000000 (docs/limits.md).", show_default=False),
]

Value = TypeVar("Value")


def parsed(option: str, text: str, parse: Callable[[str], Value]) -> Value:
    """What the text of an option says.  Raises InputError, which names the option."""
    from kernmalloc.inputs.errors import InputError

    try:
        return parse(text)
    except InputError as error:
        raise InputError(f"--{option} {text}", 0, error.reason, error.advice) from None


def limited(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option --limit, which says how much it takes of what is given to it."""

    def whole(limit: list[str] | None, **given: object) -> None:
        from kernmalloc.inputs.limits import parse_limit, raised

        with raised(**dict(parsed("limit", text, parse_limit) for text in limit or [])):
            command(**given)

    option = Parameter("limit", Parameter.KEYWORD_ONLY, default=None, annotation=Limit)
    return _with_options(whole, command, [*signature(command).parameters.values(), option])


def made_by(**makers: Callable[..., object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose parameters named here are made from options: its makers' options stand in their place."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {name: signature(maker).parameters for name, maker in makers.items()}

        def whole(**given: object) -> None:
            made = {name: maker(**{key: given.pop(key) for key in options[name]}) for name, maker in makers.items()}
            command(**made, **given)

        parameters = [
            option
            for name, own in signature(command).parameters.items()
            for option in (options[name].values() if name in options else (own,))
        ]
        return _with_options(whole, command, parameters)

    return decorate


def _with_options(
    whole: Callable[..., None], command: Callable[..., None], options: list[Parameter]
) -> Callable[..., None]:
    """`whole` under the name of a command, with these options."""
    whole.__name__, whole.__doc__ = command.__name__, command.__doc__
    whole.__annotations__ = {option.name: option.annotation for option in options}
    whole.__dict__["__signature__"] = Signature(options)
    return whole
