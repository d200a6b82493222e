"""What `km.*` means: LLVM IR for field accesses, atomics and intrinsics, per life.

The front end leaves every field access, atomic and intrinsic as a call of an undefined `km.` function; these texts
define them, to be inlined everywhere. `translated` ones pass each address through `km_port_translate(va, write)` first,
and tell `km_port_operation()` of each call of the kernel. `sparse` ones ask `km_port_sparse_at(pa)` and
`km_port_sparse_given(pa)` where a frame's memory is, and whether it has any.
Accesses are naturally aligned, which records guarantee.
"""

from __future__ import annotations


def definitions(prefix: str, pause: str, translated: bool = False, sparse: bool = False) -> str:
    """IR of all of them, named `<prefix>.<name>`; `pause` is the target's."""
    bodies = _intrinsics() | {"pause": ((), "i64", f" call void {pause}\n ret i64 0\n" if pause else " ret i64 0\n")}
    for bits in (8, 16, 32, 64):
        bodies |= _accesses(bits, translated)
    for bits in (32, 64):
        bodies |= _atomics(bits, translated)
    bodies |= _stores(translated)
    bodies |= {"operation": ((), "i64", " %r = call i64 @km_port_operation()\n ret i64 %r\n" if translated else OK)}
    bodies |= _ram(sparse)
    declarations = [f"declare void {pause.replace('i32 1', 'i32')}"] if pause else []
    declarations += [f"declare i64 @km_port_{port}" for port in ("translate(i64, i64)", "operation()") if translated]
    declarations += [f"declare i64 @km_port_{port}" for port in ("sparse_at(i64)", "sparse_given(i64)") if sparse]
    return "\n".join([_LLVM, *declarations, *(_define(f"{prefix}.{name}", *body) for name, body in bodies.items())])


OK = " ret i64 0\n"

Body = tuple[tuple[str, ...], str, str]  # parameters, all i64; result type; instructions


def _define(name: str, parameters: tuple[str, ...], result: str, body: str) -> str:
    arguments = ", ".join(f"i64 %{parameter}" for parameter in parameters)
    return f'define {result} @"{name}"({arguments}) alwaysinline nounwind "no-builtins" {{\n{body}}}\n'


def _pointer(translated: bool, write: int) -> str:
    if translated:
        return f" %at = call i64 @km_port_translate(i64 %addr, i64 {write})\n %p = inttoptr i64 %at to ptr\n"
    return " %p = inttoptr i64 %addr to ptr\n"


def _widen(bits: int, value: str) -> str:
    if bits == 64:
        return f" ret i64 {value}\n"
    return f" %wide = zext i{bits} {value} to i64\n ret i64 %wide\n"


def _cut(bits: int, value: str) -> tuple[str, str]:
    """Instructions that narrow a parameter, and the name of the result."""
    return ("", f"%{value}") if bits == 64 else (f" %{value}.cut = trunc i64 %{value} to i{bits}\n", f"%{value}.cut")


def _accesses(bits: int, translated: bool) -> dict[str, Body]:
    cut, value = _cut(bits, "value")
    load = f" %v = load i{bits}, ptr %p, align {bits // 8}\n"
    store = f" store i{bits} {value}, ptr %p, align {bits // 8}\n ret void\n"
    return {
        f"ld{bits}": (("addr",), "i64", _pointer(translated, 0) + load + _widen(bits, "%v")),
        f"st{bits}": (("addr", "value"), "void", _pointer(translated, 1) + cut + store),
    }


def _atomics(bits: int, translated: bool) -> dict[str, Body]:
    kind, align = f"i{bits}", f"align {bits // 8}"
    cut_old, old = _cut(bits, "old")
    cut_new, new = _cut(bits, "new")
    swap = (
        f" %r = cmpxchg ptr %p, {kind} {old}, {kind} {new} acq_rel monotonic, {align}\n"
        f" %done = extractvalue {{ {kind}, i1 }} %r, 1\n %v = zext i1 %done to i64\n ret i64 %v\n"
    )
    load = f" %v = load atomic {kind}, ptr %p acquire, {align}\n"
    return {
        f"cas{bits}": (("addr", "old", "new"), "i64", _pointer(translated, 1) + cut_old + cut_new + swap),
        f"load_acquire{bits}": (("addr",), "i64", _pointer(translated, 0) + load + _widen(bits, "%v")),
    }


def _stores(translated: bool) -> dict[str, Body]:
    cut, value = _cut(32, "value")

    def body(order: str, then: str) -> Body:
        store = f" store atomic i32 {value}, ptr %p {order}, align 4\n{then} ret i64 0\n"
        return ("addr", "value"), "i64", _pointer(translated, 1) + cut + store

    return {
        "store_release32": body("release", ""),
        "store_before32": body("monotonic", ' fence syncscope("singlethread") seq_cst\n'),
    }


def _ram(sparse: bool) -> dict[str, Body]:
    at = " %r = call i64 @km_port_sparse_at(i64 %pa)\n" if sparse else " %r = add i64 %phys, %pa\n"
    given = " %r = call i64 @km_port_sparse_given(i64 %pa)\n" if sparse else " %r = add i64 0, 1\n"
    return {
        "ram_at": (("phys", "pa"), "i64", at + " ret i64 %r\n"),
        "ram_given": (("pa",), "i64", given + " ret i64 %r\n"),
    }


def _intrinsics() -> dict[str, Body]:
    def call(function: str, arguments: str) -> str:
        return f" %v = call i64 @llvm.{function}.i64({arguments})\n ret i64 %v\n"

    def shift(operation: str) -> str:
        return f" %count = and i64 %n, 63\n %v = {operation} i64 %x, %count\n ret i64 %v\n"

    return {
        "ctz": (("x",), "i64", call("cttz", "i64 %x, i1 false")),
        "clz": (("x",), "i64", call("ctlz", "i64 %x, i1 false")),
        "popcount": (("x",), "i64", call("ctpop", "i64 %x")),
        "rest": (("x",), "i64", " %below = sub i64 %x, 1\n %v = and i64 %x, %below\n ret i64 %v\n"),
        "shl": (("x", "n"), "i64", shift("shl")),
        "shr": (("x", "n"), "i64", shift("lshr")),
        "minus": (("x", "y"), "i64", " %v = sub i64 %x, %y\n ret i64 %v\n"),
        "below": (("x", "y"), "i64", " %b = icmp ult i64 %x, %y\n %v = zext i1 %b to i64\n ret i64 %v\n"),
        "failed": (("x",), "i64", " %f = icmp uge i64 %x, -4095\n %v = zext i1 %f to i64\n ret i64 %v\n"),
        "sure": (("x",), "i64", " %c = icmp ne i64 %x, 0\n call void @llvm.assume(i1 %c)\n ret i64 0\n"),
        "little": (("x",), "i64", " ret i64 %x\n"),  # every target of LLVM's is little-endian
        "poison": (("addr", "bytes"), "i64", " ret i64 0\n"),  # nobody looks on here
        "unpoison": (("addr", "bytes"), "i64", " ret i64 0\n"),
        "min": (("x", "y"), "i64", call("smin", "i64 %x, i64 %y")),
        "max": (("x", "y"), "i64", call("smax", "i64 %x, i64 %y")),
        "abs": (("x",), "i64", call("abs", "i64 %x, i1 false")),
    }


_LLVM = """
declare void @llvm.assume(i1)
declare i64 @llvm.cttz.i64(i64, i1)
declare i64 @llvm.ctlz.i64(i64, i1)
declare i64 @llvm.ctpop.i64(i64)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.abs.i64(i64, i1)
"""
