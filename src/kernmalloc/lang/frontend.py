"""Front end: typed kernel Python becomes LLVM IR, once for every life. The only file that imports Numba.

Numba analyses the bytecode of one function at a time, infers types and writes the IR; nothing is optimised, linked or
executed here. A function's namespace is replaced before: another kernel function and a primitive are external C
functions over int64, so each function is compiled on its own and a call is just a call of a symbol; intrinsics and
atomics are calls of `km.<name>`, and a field access is a call of `km.ld8` ... `km.st64`, all of which the back end
defines as the life requires. The calling convention is C's: values in, value out.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, compiler, errors, typing
from numba.core.callconv import BaseCallConv
from numba.core.codegen import Codegen, CodeLibrary
from numba.core.compiler_machinery import AnalysisPass, PassManager, register_pass
from numba.core.cpu import CPUContext
from numba.core.datamodel import models
from numba.core.descriptors import TargetDescriptor
from numba.core.target_extension import target_override
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.typing.templates import AttributeTemplate, make_concrete_template
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode
from numba.extending import infer_getattr, lower_getattr_generic, lower_setattr_generic, register_model

from kernmalloc.lang import atomics, intrinsics
from kernmalloc.lang.functions import HOST_LEVEL, INLINED, RARE, REGISTRY, Primitive, callees, group, symbol
from kernmalloc.lang.gates import GateError
from kernmalloc.lang.records import Record

I64 = types.int64
_WORD, _VOID = ir.IntType(64), ir.VoidType()

Progress = Callable[[str, float], None]


def compile(
    functions: Iterable[FunctionType] | None = None, progress: Progress = lambda stage, done: None
) -> dict[str, str]:
    """LLVM IR of kernel functions (all that are registered, if None) and what they call, by group, not optimised.

    Functions must have passed the gates. GateError names file and line of a value that is not kernel Python's.
    """
    modules = {name: binding.parse_assembly("") for name in ("kernel", *HOST_LEVEL)}
    groups = _groups(REGISTRY if functions is None else functions)
    with target_override("cpu"):
        for index, (function, names) in enumerate(groups.items()):
            progress(f"compiling {function.__name__}", index / len(groups))
            text = _compile(function)
            for name in names:
                modules[name].link_in(binding.parse_assembly(text))
    return {name: str(module) for name, module in modules.items()}


def _groups(functions: Iterable[FunctionType]) -> dict[FunctionType, set[str]]:
    """The groups that each function goes into: its own, and those of host-level code that calls it, for there its
    accesses are of another kind. A call of an entry crosses over: the kernel runs it with its own accesses."""
    groups: dict[FunctionType, set[str]] = {}

    def need(function: FunctionType, name: str) -> None:
        if name not in groups.setdefault(function, set()):
            groups[function].add(name)
            for callee in callees(function):
                need(callee, group(callee) if REGISTRY[callee] else name)

    for function in functions:
        need(function, group(function))
    return groups


def _compile(function: FunctionType) -> str:
    code = function.__code__
    known = {**_PYTHON, **function.__globals__}
    space = {name: _seen(known[name]) for name in code.co_names if name in known}
    copy = FunctionType(code, space, function.__name__)
    copy.__module__, copy.__qualname__ = symbol(function), "function"  # see _Context.mangler
    try:
        result = compiler.compile_extra(
            _TARGET.typing_context,
            _TARGET.target_context,
            copy,
            (I64,) * code.co_argcount,
            I64,
            _flags(),
            {},
            pipeline_class=_Compiler,
        )
    except errors.NumbaError as error:
        line = getattr(error.loc, "line", code.co_firstlineno)
        raise GateError(f"{code.co_filename}:{line}: this does not compile: {error.msg.strip()}") from None
    text = result.library.text
    wish = "noinline" if function in RARE else "alwaysinline" if function in INLINED else ""
    text = re.sub(r"^(define .*nounwind)", rf"\1 {wish}", text, flags=re.MULTILINE) if wish else text
    # an entry begins a line of the instruction cache: what lies before it has no say in how fast it is
    return (
        re.sub(r'^(define .*"no-builtins")', r"\1 align 64", text, flags=re.MULTILINE) if REGISTRY[function] else text
    )


def _flags() -> compiler.Flags:
    flags = compiler.Flags()
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    return flags


# What a global of a kernel function means to Numba -------------------------------------------------------------------


def _external(name: str, arity: int) -> types.ExternalFunction:
    return types.ExternalFunction(name, I64(*[I64] * arity))


def _seen(value: Any) -> Any:
    if isinstance(value, FunctionType) and value in REGISTRY:
        return _external(symbol(value), value.__code__.co_argcount)
    if isinstance(value, FunctionType) and value in _BUILT_IN:
        return _external(f"km.{value.__name__}", value.__code__.co_argcount)
    if isinstance(value, Primitive):
        return _external(value.symbol, value.arity)
    if isinstance(value, Record):
        if value not in _DECLARED:
            _declare(value)
    return value


_PYTHON = {"min": _external("km.min", 2), "max": _external("km.max", 2), "abs": _external("km.abs", 1)}
_BUILT_IN = {*intrinsics.INTRINSICS, *atomics.ATOMICS}
_DECLARED: set[Record] = set()


class Reference(types.Type):
    """The type of `Frame(addr)`: an int64 that knows its record."""

    def __init__(self, record: Record) -> None:
        self.record = record
        super().__init__(name=f"Reference({record.__module__}.{record.name})")


@register_model(Reference)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _WORD)


def _declare(record: Record) -> None:
    """Tell Numba that `record(addr)` is a Reference with the value addr."""
    signature = Reference(record)(I64)
    function = types.Function(make_concrete_template(record.name, record, [signature]))
    _TARGET.typing_context.insert_global(record, function)
    _TARGET.target_context.insert_func_defn([(lambda context, builder, signature, args: args[0], record, (I64,))])
    _DECLARED.add(record)


@infer_getattr
class _Fields(AttributeTemplate):
    key = Reference

    def generic_resolve(self, reference: Reference, name: str) -> Any:
        return I64 if name == "addr" or name in reference.record.fields else None


@lower_getattr_generic(Reference)
def _load(context: Any, builder: Any, reference: Reference, addr: Any, name: str) -> Any:
    if name == "addr":
        return addr
    field = reference.record.fields[name]
    addr = builder.add(addr, _WORD(field.offset))
    if field.inline:
        return addr
    load = ir.FunctionType(_WORD, [_WORD])
    return builder.call(cgutils.get_or_insert_function(builder.module, load, f"km.ld{8 * field.size}"), [addr])


@lower_setattr_generic(Reference)
def _store(context: Any, builder: Any, signature: Any, args: Any, name: str) -> None:
    field = signature.args[0].record.fields[name]
    addr = builder.add(args[0], _WORD(field.offset))
    value = context.cast(builder, args[1], signature.args[1], I64)
    store = ir.FunctionType(_VOID, [_WORD, _WORD])
    builder.call(cgutils.get_or_insert_function(builder.module, store, f"km.st{8 * field.size}"), [addr, value])


# A Numba target that stops at IR -------------------------------------------------------------------------------------


@register_pass(mutates_CFG=False, analysis_only=True)
class _TypeGate(AnalysisPass):
    """The last gate: every inferred type is int64, a truth value, a reference, a function or the inside of a range."""

    _name = "kernel_type_gate"
    allowed = (
        types.Boolean,
        types.Literal,
        Reference,
        types.Function,
        types.ExternalFunction,
        types.RangeType,
        types.RangeIteratorType,
    )

    def __init__(self) -> None: ...

    def run_pass(self, state: Any) -> bool:
        for name, kind in state.typemap.items():
            if kind != I64 and not isinstance(kind, self.allowed) and kind != types.Pair(I64, types.boolean):
                places = [value.loc for value in state.func_ir._definitions.get(name, []) if hasattr(value, "loc")]
                self.refuse(
                    state, places, f"{name.partition('.')[0]} would be {kind}: every value is int64 or a reference"
                )
        for block in state.func_ir.blocks.values():
            for expression in block.find_exprs("unary"):
                if expression.fn is not operator.not_ and isinstance(
                    state.typemap[expression.value.name], types.Boolean
                ):
                    self.refuse(
                        state,
                        [expression.loc],
                        "a truth value has no sign and no bits: add 0 to it first, or use `not`",
                    )
        return False

    def refuse(self, state: Any, places: list[Any], rule: str) -> None:
        line = places[0].line if places else state.func_id.firstlineno
        raise GateError(f"{state.func_id.filename}:{line}: {rule}")


class _Compiler(compiler.CompilerBase):
    """Only the passes that straight int64 code needs: a third of Numba's time."""

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("kernel")
        for step in (
            TranslateByteCode,
            FixupArgs,
            IRProcessing,
            ReconstructSSA,
            NopythonTypeInference,
            _TypeGate,
            PreLowerStripPhis,
            IRLegalization,
            NativeLowering,
            NoPythonBackend,
        ):
            passes.add_pass(step, step.__name__)
        passes.finalize()
        return [passes]


class _Library(CodeLibrary):
    """Keeps the IR text of one function."""

    text = ""

    def add_ir_module(self, module: ir.Module) -> None:
        text = _defined(cgutils.normalize_ir_text(str(module)))
        self.text = re.sub(r"^(define .*\))$", r'\1 nounwind "no-builtins"', text, flags=re.MULTILINE)

    def finalize(self) -> None:
        self._finalized = True

    def add_linking_library(self, library: CodeLibrary) -> None:
        raise RuntimeError(f"{self.name} would link {library.name}: kernel Python has no such construct")

    def get_function(self, name: str) -> None: ...

    def get_llvm_str(self) -> str:
        return self.text

    def get_asm_str(self) -> str:
        return ""


def _defined(text: str) -> str:
    """IR without undefined behaviour, on which an optimiser builds: sums wrap, shift counts are taken modulo 64."""
    count = r'\1%"\2.count" = and i64 \5, 63\n\1%"\2" = \3 i64 \4, %"\2.count"'
    return re.sub(
        r'^( *)%"(.+)" = (shl|ashr) i64 (\S+), (%\S+)$', count, text.replace(" nsw ", " "), flags=re.MULTILINE
    )


class _Codegen(Codegen):
    _library_class = _Library

    def _create_empty_module(self, name: str) -> ir.Module:
        return ir.Module(name)

    def _add_module(self, module: Any) -> None: ...

    target_data = property(lambda self: binding.create_target_data("e-p:64:64"))


class _Ok:
    is_error, is_ok, is_none = cgutils.false_bit, cgutils.true_bit, cgutils.false_bit


class _CConvention(BaseCallConv):
    """C's calling convention: Numba's own returns a status and stores the value through a pointer."""

    def _make_call_helper(self, builder: Any) -> None:
        return None

    def return_value(self, builder: Any, value: Any) -> Any:
        return builder.ret(value)

    def return_user_exc(self, builder: Any, *_: Any, **__: Any) -> None:
        trap = ir.FunctionType(_VOID, [])
        builder.call(cgutils.get_or_insert_function(builder.module, trap, "llvm.trap"), [])
        builder.unreachable()

    def return_status_propagate(self, builder: Any, status: Any) -> None:
        builder.unreachable()

    def get_return_type(self, kind: Any) -> Any:
        return self.context.data_model_manager[kind].get_return_type()

    def get_function_type(self, result: Any, args: Any) -> ir.FunctionType:
        return ir.FunctionType(self.get_return_type(result), list(self._get_arg_packer(args).argument_types))

    def decorate_function(self, function: Any, args: Any, kinds: Any, noalias: bool = False) -> None:
        self._get_arg_packer(kinds).assign_names(function.args, ["arg." + name for name in args])

    def get_arguments(self, function: Any) -> Any:
        return function.args


class _Context(CPUContext):
    call_conv = property(_CConvention)

    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = _Codegen()

    def load_additional_registries(self) -> None:
        from numba.cpython import builtins, numbers, rangeobj  # noqa: F401 their import registers the code

    def post_lowering(self, module: Any, library: CodeLibrary) -> None:
        return None  # Numba's would link its run time

    def mangler(self, name: str, kinds: Any, *, abi_tags: Any = (), uid: Any = None) -> str:
        return name.removesuffix(".function")

    def declare_external_function(self, module: Any, description: Any) -> Any:
        kind = self.get_external_function_type(description)  # a function that calls itself is not external
        return cgutils.get_or_insert_function(module, kind, description.mangled_name)

    def declare_env_global(self, module: Any, name: str) -> None:
        return None

    def get_executable(self, library: Any, description: Any, environment: Any) -> str:
        return description.llvm_func_name  # the key under which Numba finds it: it must be unique


class _Target(TargetDescriptor):
    def __init__(self) -> None:
        super().__init__("cpu")
        self.typing_context = typing.BaseContext()
        self.target_context = _Context(self.typing_context, "cpu")
        self.typing_context.refresh()
        self.target_context.refresh()

    typing_context = target_context = None


_TARGET = _Target()
