"""Loads the compiled CPU kernels; compiles them first where nobody has.

The machine code lies beside this file, else in the user's cache folder, else in a temporary
one. LLVM's linker puts it in place; numba stays out of the process.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import binding as llvm

from workbench.progress import say

SIGNATURES: Final = {
    "stream_rows": "FiiiFiFFiFfIfiiiFFFiFFFFFFF",
    "sum_range": "FiiFiFfiiiiFFFF",
    "gradient_range": "FiiiFiFFiFfIFfiiiiFFFiFFFFFFF",
    "search_rows": "FiiFiFiIiiiiIFiFFF",
    "contrast_rows": "FiiFiFIiFfiiiFFFFFF",
    "scatter_range": "FiiFiIiFfiiiFFi",
}
"""Arguments of each kernel: F array of float32, I array of int64, i whole number, f float."""

LANES: Final = 64
"""Interleaved lanes that a row is searched in."""

SYMBOL: Final = "workbench_"
"""How the kernels' names begin in the object file."""

_SOURCES = ("tiles.py", "cpu_loops.py", "cpu_entries.py", "cpu_build.py", "cpu_library.py")
_C_TYPES = {
    "F": ctypes.c_void_p,
    "I": ctypes.c_void_p,
    "i": ctypes.c_int64,
    "f": ctypes.c_float,
}
_DTYPES = {"F": np.dtype(np.float32), "I": np.dtype(np.int64)}
_DIGEST = hashlib.sha256().digest_size
_LOCK = threading.Lock()


class Kernel:
    """A compiled function over contiguous arrays; releases the interpreter lock."""

    def __init__(self, name: str, address: int) -> None:
        """Takes the address of the machine code."""
        self.name = name
        self.letters = SIGNATURES[name]
        prototype = ctypes.CFUNCTYPE(None, *(_C_TYPES[letter] for letter in self.letters))
        self._function = prototype(address)

    def __call__(self, *arguments: npt.NDArray[Any] | np.floating[Any] | float) -> None:
        """Calls it.

        Args:
            arguments: As ``SIGNATURES`` says.

        Raises:
            TypeError: Wrong number of them, or an array of another type or not contiguous.
        """
        if len(arguments) != len(self.letters):
            raise TypeError(f"{self.name} takes {len(self.letters)} arguments")
        given: list[Any] = []
        for place, (letter, value) in enumerate(zip(self.letters, arguments, strict=True)):
            if letter in _DTYPES:
                array = np.asarray(value)
                if array.dtype != _DTYPES[letter] or not array.flags.c_contiguous:
                    raise TypeError(f"{self.name}: argument {place} is not the array it takes")
                given.append(array.ctypes.data)
            else:
                given.append(value)
        self._function(*given)


def load() -> dict[str, Kernel] | None:
    """The kernels by name, ready to be called; None where they cannot be compiled.

    The first call on a machine compiles them, which takes half a minute, and says so.
    """
    with _LOCK:
        return _load()


@cache
def _load() -> dict[str, Kernel] | None:
    name = f"kernels-{_fingerprint()}.o"
    folders = [Path(__file__).parent / "__pycache__", _cache_folder()]
    for folder in folders:
        code = _read(folder / name)
        if code is not None:
            return _link(code)
    for folder in folders:
        if _is_writable(folder):
            return _compile(folder / name)
    with tempfile.TemporaryDirectory() as temporary:
        return _compile(Path(temporary) / name)


def _fingerprint() -> str:
    """Changes with the sources, the compiler and the CPU."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        digest.update(Path(__file__).with_name(source).read_bytes())
    host = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), platform.machine())
    versions = (version("numba"), version("llvmlite"), version("numpy"), platform.python_version())
    digest.update(repr((host, versions)).encode())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "segmentation-workbench"


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _read(path: Path) -> bytes | None:
    """The machine code in a file, None if there is no whole one."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code, digest = content[:-_DIGEST], content[-_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def _compile(path: Path) -> dict[str, Kernel] | None:
    say("compiling the CPU kernels, once for this installation (about half a minute) ...")
    done = subprocess.run(
        [sys.executable, "-m", "workbench.kernels.cpu_build", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    code = _read(path)
    if code is None:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        say(f"the CPU kernels cannot be compiled ({reason}); plain torch takes over, slower")
        return None
    return _link(code)


def _link(code: bytes) -> dict[str, Kernel]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)  # whose memory holds the code
    kernels = {}
    for name in SIGNATURES:
        address = engine.get_function_address(SYMBOL + name)
        kernels[name] = Kernel(name, address)
    return kernels


_ENGINES: list[Any] = []
