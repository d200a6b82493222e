"""Back end: the front end's IR becomes one object per life.

    raw   kernel + hosted   an access is a load or store at its address
    soft  kernel + soft     a kernel access goes through km_port_translate, which the soft group defines, and calls of
                            the kernel are told to its km_port_operation
    wasm  kernel + soft     the same, as a WebAssembly module (wasm.py), whose RAM is sparse
    bare  kernel + bare     an access is a load or store on the target, with general registers only

Host-level code (hosted, soft, bare) always accesses memory directly. Everything is linked, optimised at O2 and made
internal but for the entries (`km_*`) and, in hosted lives, the word `km_machine`, where the host puts the address of
its record. An object with undefined symbols that nobody supplies is refused.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite.binding as llvm

from kernmalloc.lang import models, wasm
from kernmalloc.lang.functions import PORT
from kernmalloc.lang.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping


class LinkError(Exception):
    """An object would have undefined symbols; the message names them."""


GROUPS = {"raw": "hosted", "soft": "soft", "wasm": "soft", "bare": "bare"}
"""Life to the host-level group that it links."""

TRANSLATED = ("soft", "wasm")
"""Lives in which the kernel's accesses walk its page tables."""

_MACHINE = """
@km_machine = dso_local global i64 0, align 8
define i64 @km_machine_record() alwaysinline nounwind "no-builtins" {
 %v = load i64, ptr @km_machine, align 8, !invariant.load !0
 ret i64 %v
}
!0 = !{}
"""


def link(groups: Mapping[str, str], life: str, target: Target | None = None, extra_ir: str = "") -> bytes:
    """An ELF object of the groups' IR (frontend.compile) for a life: "raw" and "soft" for this computer, "bare" for
    `target`. `extra_ir` is linked in as it is: a bare machine's primitives, which take the place
    of those that the group has. LinkError if a symbol remains undefined
    that the process (hosted lives) does not have."""
    target = target or host()
    data: bytes = target_machine(target).emit_object(linked(groups, life, target, extra_ir))
    return data


def host(cpu: str = "", pause: str = "") -> Target:
    """This computer as a target. Tuned as the bare target is, it has the bare object's code, so that what is measured
    hosted holds for both. Position independent: one allocation holds an object (objects.py), at any address."""
    return Target(llvm.get_default_triple(), cpu, "", pause=pause, relocation="pic")


def target_machine(target: Target) -> llvm.TargetMachine:
    """LLVM's code generator for a target."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()  # `extra_ir` may hold inline assembly, for this computer's architecture only
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc=target.relocation, codemodel=target.code_model
    )


def linked(groups: Mapping[str, str], life: str, target: Target, extra_ir: str = "") -> llvm.ModuleRef:
    """The optimised module that `link` makes an object of."""
    machine = target_machine(target)
    kernel, group_text = groups["kernel"], re.sub(r'@("?)km\.', r"@\1host.", groups[GROUPS[life]])
    if life == "wasm":
        kernel, group_text, extra_ir = wasm.own(kernel), wasm.own(group_text), wasm.PRIMITIVES
    if life == "bare":
        kernel, group_text, extra_ir = _apart(kernel), _apart(group_text), _apart(extra_ir)
    module, group = _module(machine, kernel), _module(machine, group_text)
    if life in TRANSLATED:
        _inline_translation(group)
    if life == "bare":
        _give_way(group)
    _internalise(group)  # what both groups use is there twice, each with accesses of its kind
    module.link_in(group)
    texts = [
        models.definitions("km", target.pause, translated=life in TRANSLATED),
        models.definitions("host", target.pause, sparse=life == "wasm"),
    ]
    for text in [*texts, extra_ir, "" if life == "bare" else _MACHINE]:
        module.link_in(_module(machine, text))
    _internalise(module)
    if life == "bare":
        _forbid_red_zone(module)
        _protect(module)
    else:
        module.link_in(_module(machine, _entries(module)))
    _optimise(module, machine)
    _refuse_undefined(module, life)
    return module


def _module(machine: llvm.TargetMachine, text: str) -> llvm.ModuleRef:
    text = re.sub(r"^target (datalayout|triple) = .*$", "", text, flags=re.MULTILINE)
    return llvm.parse_assembly(
        f'target datalayout = "{machine.target_data}"\ntarget triple = "{machine.triple}"\n{text}'
    )


def _inline_translation(group: llvm.ModuleRef) -> None:
    """A hit is inlined at every access; what a miss calls is not."""
    if "km_port_translate" not in [function.name for function in group.functions]:
        return  # refused later, with whatever else is undefined
    translate = group.get_function("km_port_translate")
    translate.add_function_attribute("alwaysinline")
    for block in translate.blocks:
        for instruction in block.instructions:
            if instruction.opcode == "call":
                *_, operand = instruction.operands
                callee = group.get_function(operand.name)
                if not callee.is_declaration:
                    callee.add_function_attribute("noinline")
                    callee.add_function_attribute("cold")


def _internalise(module: llvm.ModuleRef) -> None:
    for function in module.functions:
        if not function.is_declaration and not function.name.startswith("km_"):
            function.linkage = "internal"


def _entries(module: llvm.ModuleRef) -> str:
    """The string km_entries: "symbol/arity" of every entry, so that an object says itself how to call it."""
    names = [
        f"{function.name}/{len(list(function.arguments))}"
        for function in module.functions
        if not function.is_declaration and function.name.startswith("km_")
    ]
    text = " ".join(names)
    return f'@km_entries = constant [{len(text) + 1} x i8] c"{text}\\00"'


def _forbid_red_zone(module: llvm.ModuleRef) -> None:
    """Interrupts use the interrupted stack."""
    for function in module.functions:
        if not function.is_declaration:
            function.add_function_attribute("noredzone")


def _give_way(module: llvm.ModuleRef) -> None:
    """Primitives of a name that is defined elsewhere, too, are left out."""
    for function in module.functions:
        if function.name.startswith(PORT) and not function.is_declaration:
            function.linkage = "weak_any"


def _protect(module: llvm.ModuleRef) -> None:
    """What the object defines is its own, and what it lacks is linked in: no call goes through a table. Primitives give
    way to those of a port, so they are called, never inlined."""
    for function in module.functions:
        if not function.name.startswith("llvm.") and function.linkage != llvm.Linkage.internal:
            function.visibility = "hidden" if function.is_declaration else "protected"
    _give_way(module)


def _apart(text: str) -> str:
    """IR with each function in a section of its own: a linker leaves out what nobody calls."""
    define = re.compile(r'^(define [^@]*@"?([\w.]+)"?\(.*?\)[^{\n]*?)((?: align \d+)?\s*\{)$', re.MULTILINE)
    return define.sub(r'\1 section ".text.\2"\3', text)


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)


def _refuse_undefined(module: llvm.ModuleRef, life: str) -> None:
    undefined = [
        function.name
        for function in module.functions
        if function.is_declaration and not function.name.startswith("llvm.")
    ]
    process = ctypes.CDLL(None)
    missing = [name for name in undefined if life in ("bare", "wasm") or not hasattr(process, name)]
    if missing:
        raise LinkError(f"{life} object: nothing defines {', '.join(sorted(missing))}")


def main(life: str, folder: str) -> None:
    """Make <folder>/<life>.o, for this computer or, in life wasm, for a page, out of <folder>/groups.json."""
    made = json.loads((Path(folder) / "groups.json").read_text())
    if life == "wasm":
        data = wasm.module(link(made["groups"], life, wasm.TARGET))
    else:
        data = link(made["groups"], life, host(*made["host"]))
    (Path(folder) / f"{life}.o").write_bytes(data)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (LinkError, wasm.NoLinker) as error:
        raise SystemExit(str(error)) from None
