"""What the compiled CPU kernels may hold, and how their file is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from llvmlite import binding as llvm

from workbench.kernels import cpu_build, cpu_library


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_file_is_as_readable_as_any_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int, mode: int
) -> None:
    """Users who share an installation share its machine code."""
    monkeypatch.setattr(cpu_build, "object_code", lambda: b"code")
    before = os.umask(mask)
    try:
        cpu_build.main(tmp_path / "kernels-0.o")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kernels-0.o").stat().st_mode) == mode
    assert cpu_library._read(tmp_path / "kernels-0.o") == b"code"


def test_a_failed_compilation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_build, "object_code", lambda: "no bytes")
    with pytest.raises(TypeError):
        cpu_build.main(tmp_path / "kernels-0.o")
    assert list(tmp_path.iterdir()) == []


KERNEL = """
declare float @llvm.exp.f32(float)
declare void @abort()
declare void @PyErr_Clear()
@PyExc_RuntimeError = external global i8
define float @kernel(float %x) {{
  {body}
  %y = call float @llvm.exp.f32(float %x)
  ret float %y
}}
{more}
"""


def module(body: str = "", more: str = "") -> llvm.ModuleRef:
    return llvm.parse_assembly(KERNEL.format(body=body, more=more))


def test_code_of_libm_and_the_interpreter_is_taken() -> None:
    cpu_build.check(module("call void @abort()\n call void @PyErr_Clear()"))


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        ("call void @NRT_Allocate()", "declare void @NRT_Allocate()", "needs NRT_Allocate "),
        ("call void @PyNovel_Call()", "declare void @PyNovel_Call()", "needs PyNovel_Call "),
        ("", "@numba_table = external global i8", "needs numba_table "),
        ("%p = inttoptr i64 94012345678 to ptr\n store i8 0, ptr %p", "", "holds addresses"),
        ("store i8 0, ptr inttoptr (i64 94012345678 to ptr)", "", "holds addresses"),
    ],
)
def test_code_that_would_break_elsewhere_is_refused(body: str, more: str, reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        cpu_build.check(module(body, more))


def test_a_computed_address_is_no_address_of_this_process() -> None:
    body = "%a = fptosi float %x to i64\n %p = inttoptr i64 %a to ptr\n store i8 0, ptr %p"
    cpu_build.check(module(body))
