"""Back end: the front end's IR becomes one object per life.

    raw   kernel + hosted   an access is a load or store at its address
    soft  kernel + soft     a kernel access goes through km_translate, which the soft group defines
    bare  kernel + bare     an access is a load or store on the target, with general registers only

Host-level code (hosted, soft, bare) always accesses memory directly. Everything is linked, optimised at O2 and made
internal but for the entries (`km_*`) and, in hosted lives, the word `km_machine`, where the host puts the address of
its record. An object with undefined symbols that nobody supplies is refused.
"""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm

from kernmalloc.lang import models


class LinkError(Exception):
    """An object would have undefined symbols; the message names them."""


class Target(NamedTuple):
    """What bare objects are made for. The code model says how far from zero they may be linked."""

    triple: str
    cpu: str
    features: str
    code_model: str = "small"


TARGETS = {
    "i386": Target("i386-unknown-none-elf", "i686", "-x87,-mmx,-sse,-sse2,+soft-float"),
    # "kernel" reaches both the lowest and the highest 2 GiB, "medium" is RISC-V's medany: RAM starts at 2 GiB there
    "x86_64": Target("x86_64-unknown-none-elf", "x86-64", "-x87,-mmx,-sse,-sse2,+soft-float", "kernel"),
    "riscv64": Target("riscv64-unknown-none-elf", "generic-rv64", "+m,+a,+zihintpause", "medium"),
    "armv7": Target("armv7-none-eabi", "generic", "+v7,+soft-float,-neon,-vfp2,-fpregs"),
    "aarch64": Target("aarch64-none-elf", "generic", "-neon,-fp-armv8"),
}
"""Bare targets by architecture. Features leave out every register but the general ones, which kernels do not save."""

GROUPS = {"raw": "hosted", "soft": "soft", "bare": "bare"}
"""Life to the host-level group that it links."""

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
    `target`, one of TARGETS. `extra_ir` is linked in as it is: a bare machine's primitives. LinkError if a symbol
    remains undefined that the process (hosted lives) does not have."""
    machine = target_machine(target)
    return machine.emit_object(linked(groups, life, machine, extra_ir))


def target_machine(target: Target | None) -> llvm.TargetMachine:
    """LLVM's code generator for a bare target, or for this computer."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()  # `extra_ir` may hold inline assembly, for this computer's architecture only
    if target is None:  # position independent, and one allocation holds it (objects.py): works at any address
        host = llvm.Target.from_default_triple()
        bare = TARGETS.get(platform.machine())  # tuned alike, so that what is measured hosted is the bare object's code
        return host.create_target_machine(cpu=bare.cpu if bare else "", opt=2, reloc="pic", codemodel="small")
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="static", codemodel=target.code_model
    )


def linked(groups: Mapping[str, str], life: str, machine: llvm.TargetMachine, extra_ir: str = "") -> llvm.ModuleRef:
    """The same as an optimised module."""
    module = _module(machine, groups["kernel"])
    group = _module(machine, re.sub(r'@("?)km\.', r"@\1host.", groups[GROUPS[life]]))
    if life == "soft":
        _inline_translation(group)
    _internalise(group)  # what both groups use is there twice, each with accesses of its kind
    module.link_in(group)
    architecture = machine.triple.partition("-")[0]
    texts = [
        models.definitions("km", architecture, translated=life == "soft"),
        models.definitions("host", architecture),
    ]
    for text in [*texts, extra_ir, "" if life == "bare" else _MACHINE]:
        module.link_in(_module(machine, text))
    _internalise(module)
    if life == "bare":
        _forbid_red_zone(module)
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
    if "km_translate" not in [function.name for function in group.functions]:
        return  # refused later, with whatever else is undefined
    translate = group.get_function("km_translate")
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
    """The string km_entries: "name/arity" of every entry, so that an object says itself how to call it."""
    names = [
        f"{function.name.removeprefix('km_')}/{len(list(function.arguments))}"
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
    missing = [name for name in undefined if life == "bare" or not hasattr(process, name)]
    if missing:
        raise LinkError(f"{life} object: nothing defines {', '.join(sorted(missing))}")


def main(life: str, folder: str) -> None:
    """Make <folder>/<life>.o out of <folder>/<group>.ll: a process of its own, so that lives are made in parallel."""
    groups = {path.stem: path.read_text() for path in Path(folder).glob("*.ll")}
    (Path(folder) / f"{life}.o").write_bytes(link(groups, life))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LinkError as error:
        raise SystemExit(str(error)) from None
