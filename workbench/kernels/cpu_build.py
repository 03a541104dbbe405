"""Compiles the CPU kernels into one object file: ``python -m workbench.kernels.cpu_build FILE``.

A process of its own, once per installation: numba takes over 100 MB of memory and seconds to
load, of which a training needs nothing once the machine code is there.
"""

# mypy: ignore-errors

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import secrets
import sys
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
# What the code may take from the process that runs it, beside the interpreter's own functions:
# a name found nowhere ends that process, and only numba's processes have numba's names.
_FROM_LIBC = {"abort", "expf", "logf", "memcpy", "memmove", "memset"}
_ADDRESS = re.compile(r"inttoptr \(?i64 \d")
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
    check(whole)
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


def check(module: llvm.ModuleRef) -> None:
    """Makes sure that the code runs in a process without numba, and in more than this one.

    Raises:
        RuntimeError: It calls what such a process lacks, or holds an address of this process.
    """
    parts = (*module.functions, *module.global_variables)
    names = {part.name for part in parts if part.is_declaration}
    strange = sorted(name for name in names if not _is_everywhere(name))
    if strange:
        raise RuntimeError(f"this numba's code needs {', '.join(strange)} of numba itself")
    if _ADDRESS.search(str(module)):
        raise RuntimeError("this numba's code holds addresses of the process that compiled it")


def _is_everywhere(name: str) -> bool:
    of_python = name.startswith(("Py", "_Py")) and hasattr(ctypes.pythonapi, name)
    return of_python or name in _FROM_LIBC or name.startswith("llvm.")


def main(path: Path) -> None:
    """Writes the object code, followed by its SHA-256, whole or not at all."""
    code = object_code()
    # As readable as any new file, not tempfile's 0600: others may use this installation.
    temporary = path.with_name(f"kernels-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(code + hashlib.sha256(code).digest())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
