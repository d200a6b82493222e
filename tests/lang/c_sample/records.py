"""Records: every width, references up and down, padding in the middle and at the end."""

from __future__ import annotations

from kernmalloc.lang import Record, array, field, i64, inline, u8, u16, u32


class Word(Record):
    """Eight bytes."""

    bits: i64 = field("its bits")


class Half(Record):
    """Four bytes."""

    value: u32 = field("a number")


class Spot(Record, size=24):
    """A record that lies in others."""

    pins: u16 = field("users */ of it")
    word: i64 = field("behind padding")


class Node(Record, size=128):
    """One of a list.

    It lies at a multiple of its size.
    """

    kind: u8 = field("FREE or USED")
    default: u16 = field("a keyword of C")
    order: u8 = field("log2 of its size")
    next: Node = field("the next one, or 0")
    small: u32 = field("a number")
    key: i64 = field("another")
    spot: Spot = inline("a record inside this one")
    words: Word = array(2, "two in a row")
    root: Root = field("a record that is declared later")
    halves: Half = array(3, "three in a row", align=8)
    invariants = ("kind < 2", "small == 0 or kind != FREE")


class Root(Record):
    """Where everything starts."""

    head: Node = field("the first node, or 0")
    nodes: Node = field("all nodes")
    count: i64 = field("how many")
    lock: u32 = field("spin lock")
