"""Doubly linked lists of records that lie wherever they lie, written once for all kinds of links.

Concepts
  1. A link names a record; 0 names none. It is a reference, or, where 32 bits must do, a number plus 1: of a heap page,
     or of a frame. Where a record keeps its own two links differs as much.
  2. So a list is declared by places: that of the link to its first record, that of the link to its last one if anybody
     asks for it, and those of the two links of the record that a link names. `linked_list` makes of them the two
     functions that change the list: put a record in behind another one, take a record out. Both take constant time.

    next(x) = y  <=>  prev(y) = x
    first = x    <=>  x is in the list and prev(x) = 0
    last = x     <=>  x is in the list and next(x) = 0
    next(x) = prev(x) = 0 of a record that was taken out
"""

from __future__ import annotations

import linecache
import re
from typing import TYPE_CHECKING, Any

from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SOURCE = '''
def {name}_link({given}, one: {kind}, ahead: {kind}) -> int:
    """Put in {what} behind `ahead`; 0: at the front."""
    behind = {first}
    if ahead != 0:
        behind = {next[ahead]}
    {next[one]} = behind
    {prev[one]} = ahead
    if behind != 0:
        {prev[behind]} = one
    else:
        {last} = one
    if ahead != 0:
        {next[ahead]} = one
    else:
        {first} = one
    return OK


def {name}_unlink({given}, one: {kind}) -> int:
    """Take out {what}."""
    behind = {next[one]}
    ahead = {prev[one]}
    {next[one]} = {none}
    {prev[one]} = {none}
    if behind != 0:
        {prev[behind]} = ahead
    else:
        {last} = ahead
    if ahead != 0:
        {next[ahead]} = behind
    else:
        {first} = behind
    return OK
'''
_LAST = re.compile(r"    else:\n        {last} = .*\n")


def linked_list(
    name: str,
    what: str,
    given: str,
    *,
    kind: str = "int",
    first: str,
    last: str = "",
    next: str,
    prev: str,
    namespace: Mapping[str, Any],
) -> tuple[Callable[..., int], Callable[..., int]]:
    """Make and register <name>_link(given, one, ahead) and <name>_unlink(given, one) for lists of `what`.

    `given` are the parameters that lead to the list. `kind` is that of a link: `int`, or the record that it refers to.
    `first` and `last` are the places of these links, `next` and `prev` those of the record that the link {} names. All
    are kernel Python over `given` and `namespace` (pass globals()).
    """

    def of_each(place: str) -> dict[str, str]:
        return {link: place.format(link) for link in ("one", "ahead", "behind")}

    source = (_SOURCE if last else _LAST.sub("", _SOURCE)).format(
        name=name,
        what=what,
        given=given,
        kind=kind,
        none="0" if kind == "int" else f"{kind}(0)",
        first=first,
        last=last,
        next=of_each(next),
        prev=of_each(prev),
    )
    file = f"<list of {namespace['__name__']}.{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # the gates and the twin read it there
    space = {**namespace, "OK": OK}
    exec(compile(source, file, "exec"), space)
    return kernel(space[f"{name}_link"]), kernel(space[f"{name}_unlink"])
