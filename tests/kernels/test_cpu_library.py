"""How compiled kernels are found, made and refused."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench import kernels
from workbench.kernels import cpu, cpu_library


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Forgets the loaded kernels; folders for machine code are below the path given."""
    monkeypatch.setattr(cpu_library, "__file__", str(tmp_path / "package" / "cpu_library.py"))
    monkeypatch.setattr(cpu_library, "_fingerprint", lambda: "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cpu_library._load.cache_clear()
    yield tmp_path
    cpu_library._load.cache_clear()


@pytest.fixture
def machine_code() -> Callable[[Path], None]:
    """Puts whole machine code into a file, without compiling it again."""
    assert cpu.available()
    found = Path(cpu.__file__).parent / "__pycache__" / f"kernels-{cpu_library._fingerprint()}.o"
    if not found.is_file():
        pytest.skip("the kernels lie in the user's cache folder here")
    content = found.read_bytes()

    def put(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return put


def works() -> bool:
    x = torch.eye(4, 8)
    ids, _ = cpu.search(x, torch.eye(5, 8), 1, offset=None, exclude=None, budget=1)
    return ids[:, 0].tolist() == [0, 1, 2, 3]


def test_code_in_the_users_cache_is_found(
    machine_code: Callable[[Path], None], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_code(fresh / "cache" / "segmentation-workbench" / "kernels-0.o")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    assert works()


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_damaged_code_is_never_run(
    machine_code: Callable[[Path], None],
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    path = fresh / "package" / "__pycache__" / "kernels-0.o"
    machine_code(path)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[2000] ^= 255
    damaged = {"truncated": content[:-7], "changed": bytes(changed), "empty": b""}
    path.write_bytes(damaged[damage])

    def build(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        machine_code(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", build)
    assert works()
    assert path.read_bytes() == content
    assert "compiling the CPU kernels, once" in capsys.readouterr().err


def test_without_a_place_to_keep_it_code_is_made_all_the_same(
    machine_code: Callable[[Path], None], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fresh / "package").write_text("in the way")
    (fresh / "cache").write_text("in the way")

    def build(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        machine_code(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", build)
    assert works()


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, as in a container with a number for a user."""
    monkeypatch.delenv("HOME", raising=False)

    def unknown(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("cache", ["", "relative/cache"])
def test_a_user_without_a_home_has_kernels_all_the_same(
    machine_code: Callable[[Path], None],
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: str,
) -> None:
    (fresh / "package").write_text("in the way")
    (fresh / "work").mkdir()
    monkeypatch.chdir(fresh / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    made: list[Path] = []

    def build(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        made.append(Path(command[-1]))
        machine_code(made[-1])
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", build)
    assert works()
    assert [path.is_absolute() and path.exists() for path in made] == [False]
    assert list((fresh / "work").iterdir()) == []


def test_without_even_a_temporary_folder_plain_torch_takes_over(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (fresh / "package").write_text("in the way")
    (fresh / "cache").write_text("in the way")

    def nowhere(*_: object) -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", nowhere)
    x = torch.eye(4, 8)
    ids, _ = kernels.search(x, torch.eye(5, 8), 1, budget=2**20)
    assert ids[:, 0].tolist() == [0, 1, 2, 3]
    assert "No usable temporary directory found" in capsys.readouterr().err


def test_two_processes_compile_once(machine_code: Callable[[Path], None], fresh: Path) -> None:
    folder = fresh / "package" / "__pycache__"
    machine_code(folder / "good.o")
    script = """
        import shutil, subprocess, sys, time
        from pathlib import Path
        from workbench.kernels import cpu_library
        folder = Path(sys.argv[1])
        cpu_library.__file__ = str(folder.parent / "cpu_library.py")
        cpu_library._fingerprint = lambda: "0"
        def build(command, **_):
            print("compiles", flush=True)
            sys.stdin.readline()
            shutil.copy(folder / "good.o", command[-1])
            return subprocess.CompletedProcess(command, 0, stderr="")
        subprocess.run = build
        print(sorted(cpu_library.load()) == sorted(cpu_library.SIGNATURES), flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    with start() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "compiles\n"
        with start() as second:
            assert second.stderr is not None
            assert "another process is compiling" in second.stderr.readline()
            assert first.communicate("\n", timeout=60)[0] == "True\n"
            assert second.communicate("\n", timeout=60)[0] == "True\n"


def test_files_of_former_versions_are_removed(
    machine_code: Callable[[Path], None], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fresh / "package" / "__pycache__"
    for age in range(12):
        machine_code(folder / f"kernels-former{age}.o")
        os.utime(folder / f"kernels-former{age}.o", (1e9 - age, 1e9 - age))
    for name in ("kernels-killed.tmp", "cpu.cpython-313.pyc"):
        (folder / name).write_bytes(b"")

    def build(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        machine_code(Path(command[-1]))
        os.utime(command[-1], (1e8, 1e8))  # what was just made stays, whatever the clock says
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", build)
    assert works()
    assert {path.name for path in folder.iterdir()} == {
        *(f"kernels-former{age}.o" for age in range(8)),
        *("kernels-0.o", "kernels.lock", "cpu.cpython-313.pyc"),
    }


def test_the_last_used_file_is_not_the_one_removed(
    machine_code: Callable[[Path], None], fresh: Path
) -> None:
    path = fresh / "cache" / "segmentation-workbench" / "kernels-0.o"
    machine_code(path)
    os.utime(path, (1e9, 1e9))
    assert works()
    assert path.stat().st_mtime > 1e9


@pytest.mark.parametrize("changed", ["source", "numba", "cpu", "python"])
def test_the_fingerprint_is_of_sources_compiler_and_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    for name in cpu_library._SOURCES:
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(cpu_library, "__file__", str(tmp_path / "cpu_library.py"))
    library = "workbench.kernels.cpu_library"
    before = cpu_library._fingerprint()
    assert cpu_library._fingerprint() == before
    if changed == "source":
        (tmp_path / cpu_library._SOURCES[-1]).write_text("changed")
    elif changed == "numba":
        monkeypatch.setattr(
            f"{library}.version", lambda name: "0.99" if name == "numba" else version(name)
        )
    elif changed == "cpu":
        monkeypatch.setattr(f"{library}.llvm.get_host_cpu_name", lambda: "another")
    else:
        monkeypatch.setattr(f"{library}.platform.python_version", lambda: "3.99.0")
    assert cpu_library._fingerprint() != before


def test_every_source_of_the_machine_code_is_in_the_fingerprint() -> None:
    """What the compiling process imports of the kernels, beside what needs no compiling."""
    code = (
        "import sys; import workbench.kernels.cpu_entries; start = 'workbench.kernels.';"
        "print(*[n.removeprefix(start) + '.py' for n in sys.modules if n.startswith(start)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    imported = set(done.stdout.split()) - {"reference.py"}
    assert imported | {"cpu_build.py"} == set(cpu_library._SOURCES)


def test_code_that_lacks_a_kernel_is_not_run(
    machine_code: Callable[[Path], None],
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine_code(fresh / "package" / "__pycache__" / "kernels-0.o")
    more = {**cpu_library.SIGNATURES, "novelty": "F"}
    monkeypatch.setattr(cpu_library, "SIGNATURES", more)
    assert cpu_library.load() is None
    assert "the machine code lacks novelty" in capsys.readouterr().err


def test_where_nothing_compiles_plain_torch_takes_over(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1, stderr="Traceback\nOSError: no compiler here\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    x = torch.eye(4, 8)
    ids, _ = kernels.search(x, torch.eye(5, 8), 1, budget=2**20)
    assert ids[:, 0].tolist() == [0, 1, 2, 3]
    said = capsys.readouterr().err
    assert said.count("OSError: no compiler here") == 1
    assert "plain torch takes over" in said


def test_arrays_of_another_kind_are_refused() -> None:
    kernels_of_cpu = cpu_library.load()
    assert kernels_of_cpu is not None
    kernel = kernels_of_cpu["sum_range"]
    good: list[object] = [np.zeros(8, np.float32) if c == "F" else 1 for c in kernel.letters]
    strided = np.zeros((8, 2), np.float32)[:, 0]
    for bad in (np.zeros(8), strided, torch.zeros(8), np.float32(0), [0.0] * 8):
        with pytest.raises(TypeError, match="sum_range: argument 0 is not the array"):
            kernel(bad, *good[1:])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="15 arguments"):
        kernel(*good[1:])  # type: ignore[arg-type]


def test_the_compiler_stays_out_of_the_process() -> None:
    """It would take over 100 MB, whatever the classes: a good part of what the method saves."""
    code = (
        "import sys, torch; from workbench.kernels import prepare, search;"
        "prepare(torch.device('cpu')); search(torch.eye(4), torch.eye(4), 1, budget=1024);"
        "print([name for name in sys.modules if name.split('.')[0] == 'numba'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_compiling_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kernels.o"
    subprocess.run(
        [sys.executable, "-m", "workbench.kernels.cpu_build", str(path)], check=True, timeout=280
    )
    code = cpu_library._read(path)
    assert code is not None
    linked = cpu_library._link(code)
    assert linked is not None
    assert set(linked) == set(cpu_library.SIGNATURES)
    assert list(tmp_path.iterdir()) == [path]
