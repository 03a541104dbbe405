"""How compiled kernels are found, made and refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
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
    folder = Path(cpu.__file__).parent / "__pycache__"
    found = sorted(folder.glob("kernels-*.o"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.skip("the kernels lie in the user's cache folder here")
    content = found[-1].read_bytes()

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
    for bad in (np.zeros(8), np.zeros((8, 2), np.float32)[:, 0]):
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
    assert set(cpu_library._link(code)) == set(cpu_library.SIGNATURES)
    assert list(tmp_path.iterdir()) == [path]
