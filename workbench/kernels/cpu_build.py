"""Compiles the CPU kernels into one object file: ``python -m workbench.kernels.cpu_build FILE``.

A process of its own, once per installation: numba takes over 100 MB of memory and seconds to
load, of which a training needs nothing once the machine code is there.
"""

# mypy: ignore-errors

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from llvmlite import binding as llvm
from numba import cfunc, types

from workbench.kernels.cpu_entries import ENTRIES
from workbench.kernels.cpu_library import SIGNATURES, SYMBOL

# What numba's wrappers call where a Python error leaves a kernel or an array of its own dies.
# Neither happens here; whoever got there would have no runtime to go on with.
_NEVER = (
    *("NRT_Free", "NRT_MemInfo_call_dtor", "numba_do_raise", "numba_gil_ensure"),
    *("numba_gil_release", "numba_runtime_build_excinfo_struct", "numba_unpickle"),
)
_TYPES = {
    "F": types.CPointer(types.float32),
    "I": types.CPointer(types.int64),
    "i": types.int64,
    "f": types.float32,
}


def object_code() -> bytes:
    """Machine code of all kernels for this CPU, as an ELF object."""
    whole = llvm.parse_assembly("")
    for name, letters in SIGNATURES.items():
        signature = types.void(*(_TYPES[letter] for letter in letters))
        compiled = cfunc(signature, nopython=True)(ENTRIES[name])
        part = llvm.parse_assembly(compiled.inspect_llvm())
        # The wrapper for C is renamed; all else is internal to the module.
        part.get_function(compiled.native_name).name = SYMBOL + name
        whole.link_in(part)
    stop = "{ call void @abort()\n unreachable }"
    stubs = "\n".join(f"define void @{name}() {stop}" for name in _NEVER)
    whole.link_in(llvm.parse_assembly(f"declare void @abort()\n{stubs}"))
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        codemodel="jitdefault",
        jit=True,
    )
    return machine.emit_object(whole)


def main(path: Path) -> None:
    """Writes the object code, followed by its SHA-256, whole or not at all."""
    code = object_code()
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(code + hashlib.sha256(code).digest())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
