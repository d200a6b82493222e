"""The crate: the kernel for kernels in Rust. What people wrote of it is in `crate/`; `bindings.rs` is made here.

Concepts
  1. Everything in the bindings comes from the declarations that C and the objects are made of: records with their
     padding spelled out, calls, statuses, numbers that callers name, and what a port supplies.
  2. A reference in a record is a `Ref`, 8 bytes on every target. An argument that is a reference is a pointer.
  3. `Port` is a trait with the port's functions, `port!(T)` makes the symbols of them. What can be said in Rust has a
     default.
  4. It asks for Rust 1.63, needs no other crate, and no nightly feature.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kernmalloc.lang import status
from kernmalloc.lang.c.records import closure
from kernmalloc.lang.functions import PORT, REGISTRY, signature, symbol
from kernmalloc.lang.records import Width

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kernmalloc.lang.c.names import Constant
    from kernmalloc.lang.functions import Function, Primitive
    from kernmalloc.lang.records import Field, RecordType

WRITTEN = Path(__file__).parent / "crate"
FOLDER = "rust"
FILES = {f"{FOLDER}/{name}" for name in ("bindings.rs", *(path.name for path in WRITTEN.iterdir()))}

_KEYWORDS = """
as break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return
self Self static struct super trait true type unsafe use where while async await abstract become box do final macro
override priv typeof unsized virtual yield try
"""
KEYWORDS = frozenset(_KEYWORDS.split())
NUMBERS = ("u8", "u16", "u32", "i64")
DEFAULTS = {
    "barrier": "0",
    "forget": "{ let _ = root; Self::shootdown(va, 1) }",
    "zero": "{ (va as usize as *mut u8).write_bytes(0, bytes as usize); 0 }",
    "zero_ram": "{ let _ = (pa, bytes); 0 }",
    "copy": "{ (to as usize as *mut u8).copy_from_nonoverlapping(of as usize as *const u8, bytes as usize); 0 }",
    "reach": "1",
    "map": "{ let _ = (va, pa, pages); 0 }",
    "unmap": "{ let _ = (va, pages); 0 }",
    "known_zero": "{ let _ = (pa, bytes); 0 }",
}
"""Of the port's functions those that Rust can do itself, or that have an answer that is never wrong."""


def crate(
    functions: Iterable[Function], port: Iterable[Primitive], told: Mapping[str, Sequence[Constant]]
) -> dict[str, str]:
    """Name to text of the crate's files, for the entries among functions."""
    entries = [function for function in functions if REGISTRY[function]]
    files = {path.name: path.read_text() for path in sorted(WRITTEN.iterdir())}
    files["bindings.rs"] = bindings(entries, list(port), told)
    return {f"{FOLDER}/{name}": text for name, text in files.items()}


def bindings(entries: list[Function], port: list[Primitive], told: Mapping[str, Sequence[Constant]]) -> str:
    """The declarations, as Rust."""
    taken = [kind for entry in entries for kind in (*signature(entry).arguments, signature(entry).result)]
    records = closure(kind for kind in taken if kind)
    parts = [
        "// SPDX-License-Identifier: Apache-2.0 OR MIT\n//! Made from the declarations of the kernel.\n"
        "#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]\n\n"
        "use crate::{Ref, Status};",
        _statuses(),
        *(_numbers(title, constants) for title, constants in told.items()),
        *map(_struct, records),
        _layouts(records),
        _declared(entries),
        _calls(entries),
        _port(port),
    ]
    return "\n\n".join(parts) + "\n"


def name(text: str) -> str:
    """A name as Rust can have it."""
    return f"{text}_" if text in KEYWORDS else text


def fields(record: RecordType) -> list[tuple[str, str, int]]:
    """Name, type and offset of each member of a record's struct, with those that only fill it."""
    found, end = [], 0
    for text, item in record.fields.items():
        if item.offset > end:
            found.append((f"pad{end}", f"[u8; {item.offset - end}]", end))
        found.append((name(text), _type(item), item.offset))
        end = item.offset + item.size
    if record.size > end:
        found.append((f"pad{end}", f"[u8; {record.size - end}]", end))
    return found


def _type(item: Field) -> str:
    if isinstance(item.kind, Width):
        return item.kind.name
    if not item.inline:
        return f"Ref<{item.kind.name}>"
    return f"[{item.kind.name}; {item.count}]" if item.count > 1 else item.kind.name


def _doc(text: str, indent: str = "") -> str:
    lines = inspect.cleandoc(text).split("\n")
    return "".join(f"{indent}///{f' {line}' if line else ''}\n" for line in map(_safe, lines))


def _safe(line: str) -> str:
    """A line without what rustdoc would take for a link or for code."""
    text = re.sub(r"[\[\]<>]", lambda found: f"\\{found[0]}", line.rstrip())
    return re.sub(r"^ {4,}", "   ", text)


def _statuses() -> str:
    rows = [f'    ({code}, "{status.NAMES[code]}", "{meaning}"),' for code, meaning in status.MEANINGS.items()]
    constants = [
        f"{_doc(meaning, '    ')}    pub const {status.NAMES[code]}: Status = Status({code});"
        for code, meaning in status.MEANINGS.items()
        if code
    ]
    return "\n".join(
        [
            "/// What calls are refused with.",
            "pub mod status {",
            "    use crate::Status;",
            *constants,
            "}",
            "",
            "/// Number, name and meaning of every status.",
            f"pub(crate) const STATUSES: [(i64, &str, &str); {len(rows)}] = [",
            *rows,
            "];",
        ]
    )


def _numbers(title: str, constants: Sequence[Constant]) -> str:
    lines = [f"/// {title}\npub const {constant.name}: i64 = {constant.value};" for constant in constants]
    return "\n".join(lines)


def _struct(record: RecordType) -> str:
    members = []
    meanings = {name(text): item.meaning for text, item in record.fields.items()}
    for member, kind, _ in fields(record):
        shown = "pub " if member in meanings else ""
        members.append(f"{_doc(meanings.get(member, 'nothing'), '    ')}    {shown}{member}: {kind},")
    zeros = ", ".join(f"{member}: {_zero(kind)}" for member, kind, _ in fields(record))
    return (
        f"{_doc(record.doc)}#[derive(Clone, Copy)]\n#[repr(C)]\npub struct {record.name} {{\n"
        + "\n".join(members)
        + f"\n}}\n\nimpl {record.name} {{\n    /// All fields 0.\n"
        f"    pub const ZERO: Self = Self {{ {zeros} }};\n}}\n\n"
        f"const _: () = assert!(core::mem::size_of::<{record.name}>() == {record.size});"
    )


def _zero(kind: str) -> str:
    """The zero of a type."""
    if kind.startswith("["):
        inner, _, count = kind[1:-1].rpartition("; ")
        return f"[{_zero(inner)}; {count}]"
    return "Ref::NULL" if kind.startswith("Ref<") else "0" if kind in NUMBERS else f"{kind}::ZERO"


def _layouts(records: list[RecordType]) -> str:
    """A function for whoever wants to compare: every record's name and size, and each field's offset."""
    lines = []
    for record in records:
        for member, _, _ in fields(record):
            lines.append(
                f'    tell("{record.name}", size_of::<{record.name}>(), "{member}", '
                f"offset(|it: *const {record.name}| unsafe {{ addr_of!((*it).{member}) as usize }}));"
            )
    return "\n".join(
        [
            "fn offset<T>(place: impl Fn(*const T) -> usize) -> usize {",
            "    let record = core::mem::MaybeUninit::<T>::uninit();",
            "    place(record.as_ptr()) - record.as_ptr() as usize",
            "}",
            "",
            "/// Tell of every record its name and size, and of each member its name and offset, for tests.",
            "pub fn layouts(mut tell: impl FnMut(&str, usize, &str, usize)) {",
            "    use core::{mem::size_of, ptr::addr_of};",
            *lines,
            "}",
        ]
    )


def _arguments(entry: Function) -> list[tuple[str, str]]:
    names = entry.__code__.co_varnames[: entry.__code__.co_argcount]
    kinds = signature(entry).arguments
    return [(name(text), f"*mut {kind.name}" if kind else "i64") for text, kind in zip(names, kinds, strict=True)]


def _given(entry: Function) -> str:
    return ", ".join(f"{text}: {kind}" for text, kind in _arguments(entry))


def _result(entry: Function) -> str:
    result = signature(entry).result
    return f"*mut {result.name}" if result else "i64"


def _declared(entries: list[Function]) -> str:
    lines = [f"    pub fn {symbol(entry)}({_given(entry)}) -> {_result(entry)};" for entry in entries]
    processor = f"    pub fn {PORT}processor() -> *mut Cpu;"
    return "\n".join(['extern "C" {', *lines, processor, "}"])


def _calls(entries: list[Function]) -> str:
    lines = [
        "/// The calls: what each does, and the statuses that it is refused with.",
        "pub mod call {",
        "    use super::*;",
    ]
    for entry in entries:
        if signature(entry).result is not None:
            continue
        passed = ", ".join(text for text, _ in _arguments(entry))
        head = f"pub unsafe fn {name(entry.__name__)}({_given(entry)}) -> Result<i64, Status>"
        doc = _doc(inspect.getdoc(entry) or "", "    ")
        lines.append(f"\n{doc}    {head} {{\n        Status::of({symbol(entry)}({passed}))\n    }}")
    return "\n".join([*lines, "}"])


def _port(port: list[Primitive]) -> str:
    methods, symbols = [], []
    for primitive in port:
        short = primitive.symbol.removeprefix(PORT)
        head = re.match(r"\w+\(([^)]*)\)", primitive.doc)
        names = re.findall(r"\w+", head[1]) if head else []
        given = ", ".join(f"{name(text)}: i64" for text in names)
        body = f" {{\n        {DEFAULTS[short]}\n    }}" if short in DEFAULTS else ";"
        methods.append(f"{_doc(primitive.doc, '    ')}    unsafe fn {short}({given}) -> i64{body}")
        symbols.append(
            f'        #[no_mangle]\n        unsafe extern "C" fn {primitive.symbol}({given}) -> i64 {{\n'
            f"            <$machine as $crate::Port>::{short}({', '.join(map(name, names))})\n        }}"
        )
    return "\n".join(
        [
            "/// What only a machine can do.",
            "pub trait Port {",
            "    /// The record of the processor that this runs on: what `call::start` or `call::cpu_online` answered.",
            "    unsafe fn processor() -> *mut Cpu;",
            *methods,
            "}",
            "",
            "/// Make the symbols that the kernel is linked with, of a type that is a `Port`.",
            "#[macro_export]",
            "macro_rules! port {",
            "    ($machine:ty) => {",
            f'        #[no_mangle]\n        unsafe extern "C" fn {PORT}processor() -> *mut $crate::Cpu {{\n'
            "            <$machine as $crate::Port>::processor()\n        }",
            *symbols,
            "    };",
            "}",
        ]
    )
