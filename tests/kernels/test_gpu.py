"""The Triton kernels without a GPU: interpreted, compiled for one, and left alone."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.kernels import EUCLIDEAN, gpu

HERE = Path(__file__).parent
ROOM = 99 * 1024  # bytes of shared memory that a program may have on every GPU from sm_80 on


def triton_version() -> tuple[int, ...]:
    """(0,) where torch brings no Triton."""
    if importlib.util.find_spec("triton") is None:
        return (0,)
    return tuple(map(int, importlib.metadata.version("triton").split(".")[:2]))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, **environment},
        cwd=HERE.parents[1],
    )


@pytest.mark.skipif(
    triton_version() < (3, 7), reason="needs Triton 3.7, the first to interpret with NumPy 2.4"
)
def test_interpreted_kernels_agree_with_all_logits() -> None:
    """In a process of its own: Triton decides when it is imported whether it interprets."""
    tests = str(HERE / "test_gpu_cuda.py")
    done = run("-m", "pytest", "-q", tests, "-p", "no:cacheprovider", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_kernels_are_neither_available_nor_loaded() -> None:
    code = (
        "import sys; from workbench.kernels import gpu;"
        "sys.exit(gpu.available() or 'workbench.kernels.gpu_tiles' in sys.modules)"
    )
    assert run("-c", code, TRITON_INTERPRET="0").returncode == 0


@pytest.mark.parametrize(
    ("blocks", "items", "most"),
    [(1, 1, 100), (1, 1000, 100), (3, 1000, 100), (1, 1000, 2), (1, 1000, 0), (9, 65, 100)],
)
def test_splits_cover_everything_and_none_is_empty(blocks: int, items: int, most: int) -> None:
    splits, each = gpu._split(blocks, items, 64, most, torch.device("cpu"))
    assert each % 64 == 0
    assert (splits - 1) * each < items <= splits * each
    assert 1 <= splits <= max(1, most)


POINTERS = {"targets": "*i64", "exclude": "*i64", "ids": "*i32"}
ABSENT = ("smooth", "even_by_pixels")
NUMBERS = ("count", "classes", "per_split", "splits")


def compiled(kernel: Any, constants: dict[str, Any]) -> Any:
    """A kernel's machine code for sm_90; no GPU is needed for that."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    signature, values, attributes = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants or name in ABSENT:
            signature[name] = "constexpr"
            values[(place,)] = constants.get(name)
        elif name in NUMBERS:
            signature[name] = "i32"
        else:
            signature[name] = POINTERS.get(name, "*fp32")
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, values, attributes)
    return compile(source, target=GPUTarget("cuda", 90, 32), options=gpu.options(constants["DIM"]))


@pytest.mark.skipif(triton_version() < (3, 6), reason="needs Triton")
def test_kernels_compile_for_a_gpu_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For Hopper, with the longest vectors: those that take most memory."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for kernel, constants in kernels(gpu.WIDEST):
        program = compiled(kernel, constants)
        assert len(program.asm["cubin"]) > 0
        assert program.metadata.shared <= ROOM


@pytest.mark.skipif(triton_version() < (3, 6), reason="needs Triton")
def test_short_vectors_keep_to_instructions_that_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hopper's asynchronous products gave garbage on an H200 for D = 3, 12 and 32."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for kernel, constants in kernels(12):
        code = compiled(kernel, constants).asm["ptx"]
        assert "wgmma" not in code
        assert ("mma.sync" in code) == (kernel.__name__ != "finish_pixels")  # the one without


def kernels(dim: int) -> list[tuple[Any, dict[str, Any]]]:
    """All four, with what they are compiled for."""
    from workbench.kernels import gpu_search, gpu_stream

    block, step = gpu._BLOCK, gpu._step(dim)
    common = {"DIM": dim, "HAS_OFFSET": True, "SPLIT": True, "WIDTH": gpu._width(dim)}
    loss = {**common, "KIND": EUCLIDEAN, "HAS_SMOOTH": False}
    search = {**common, "K": 16, "SLOTS": 16, "HAS_EXCLUDE": True}
    return [
        (gpu_stream.sweep_classes, {**loss, "ROWS": block, "COLUMNS": step}),
        (gpu_stream.finish_pixels, {**loss, "ROWS": block}),
        (gpu_stream.sweep_pixels, {**loss, "ROWS": step, "COLUMNS": block, "WANT_OFFSET": True}),
        (gpu_search.search_classes, {**search, "ROWS": block, "COLUMNS": block}),
    ]
