"""Loads the compiled CPU kernels; compiles them first where nobody has.

The machine code lies beside this file, else in the user's cache folder, else in a temporary
one. LLVM's linker puts it in place; numba stays out of the process.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

_SOURCES = (
    *("terms.py", "tiles.py", "cpu_loops.py", "cpu_entries.py", "cpu_build.py"),
    "cpu_library.py",
)
_C_TYPES = {
    "F": ctypes.c_void_p,
    "I": ctypes.c_void_p,
    "i": ctypes.c_int64,
    "f": ctypes.c_float,
}
_DTYPES = {"F": np.dtype(np.float32), "I": np.dtype(np.int64)}
_DIGEST = hashlib.sha256().digest_size
_LOCK = threading.Lock()
_KEPT = 8  # files of other sources, compilers and CPUs that stay in a folder


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
                # Not converted: a converted copy would die before its memory is used.
                if (
                    not isinstance(value, np.ndarray)
                    or value.dtype != _DTYPES[letter]
                    or not value.flags.c_contiguous
                ):
                    raise TypeError(f"{self.name}: argument {place} is not the array it takes")
                given.append(value.ctypes.data)
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
    places = (Path(__file__).parent / "__pycache__", _cache_folder())
    folders = [folder for folder in places if folder is not None]
    for folder in folders:
        code = _read(folder / name)
        if code is not None:
            return _link(code)
    try:
        for folder in folders:
            if _is_writable(folder):
                return _compile_once(folder / name)
        with tempfile.TemporaryDirectory() as temporary:
            return _compile(Path(temporary) / name)
    except OSError as error:
        return _without(str(error))


def _fingerprint() -> str:
    """Changes with the sources, the compiler and the CPU."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        digest.update(Path(__file__).with_name(source).read_bytes())
    host = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), platform.machine())
    versions = (version("numba"), version("llvmlite"), version("numpy"), platform.python_version())
    digest.update(repr((host, versions)).encode())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path | None:
    """The user's; None for a user without a home. The standard has relative paths ignored."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path(os.path.expanduser("~")) / ".cache"
    return base / "segmentation-workbench" if base.is_absolute() else None


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
    if hashlib.sha256(code).digest() != digest:
        return None
    with suppress(OSError):
        os.utime(path)  # tells which files are still in use; another user's stay as they are
    return code


def _compile_once(path: Path) -> dict[str, Kernel] | None:
    """Compiles into a folder that is kept, unless another process has just done it."""
    with _only_compiler(path.parent) as alone:
        code = _read(path)
        if code is not None:
            return _link(code)
        loaded = _compile(path)
        if alone and loaded is not None:
            _tidy(path)
        return loaded


@contextmanager
def _only_compiler(folder: Path) -> Iterator[bool]:
    """Waits for other processes that compile into a folder; False where none can be kept out."""
    try:
        descriptor = os.open(folder / "kernels.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield False
        return
    try:
        yield _wait_for(descriptor)
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # whatever a forked child still holds open
        os.close(descriptor)


def _wait_for(descriptor: int) -> bool:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is compiling the CPU kernels; waiting for it ...")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True


def _tidy(kept: Path) -> None:
    """Removes what killed compilers left, and all but the last used files of other versions.

    Removing one that is in use costs its owner a compilation, no more: files are read whole.
    """
    used: list[tuple[float, Path]] = []
    for path in kept.parent.glob("kernels-*.o"):
        with suppress(OSError):
            used.append((path.stat().st_mtime, path))
    others = sorted((item for item in used if item[1] != kept), reverse=True)
    stale = [path for _, path in others[_KEPT:]]
    for path in (*stale, *kept.parent.glob("kernels-*.tmp")):
        with suppress(OSError):
            path.unlink()


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
        return _without((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return _link(code)


def _without(reason: str) -> dict[str, Kernel] | None:
    say(f"the CPU kernels cannot be compiled ({reason}); plain torch takes over, slower")
    return None


def _link(code: bytes) -> dict[str, Kernel] | None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)  # whose memory holds the code
    addresses = {name: engine.get_function_address(SYMBOL + name) for name in SIGNATURES}
    absent = [name for name, address in addresses.items() if not address]
    if absent:
        return _without(f"the machine code lacks {', '.join(absent)}")
    return {name: Kernel(name, address) for name, address in addresses.items()}


_ENGINES: list[Any] = []
