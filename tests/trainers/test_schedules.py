from __future__ import annotations

import pytest

from workbench.trainers.schedules import poly


def test_poly_is_the_formula() -> None:
    for step in (0, 1, 500, 999):
        right = 0.01 * (1 - step / 1000) ** 0.9
        assert poly(step, 1000, power=0.9, base=0.01) == pytest.approx(right)


def test_the_rate_rises_then_falls_and_never_below_the_floor() -> None:
    rates = [poly(s, 100, power=0.9, base=1.0, floor=0.05, warmup=10) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates.index(max(rates)) == 9
    assert rates[:10] == sorted(rates[:10]) and rates[9:] == sorted(rates[9:], reverse=True)
    assert min(rates) >= 0.05 and rates[-1] == 0.05


def test_a_base_below_the_floor_stays() -> None:
    assert poly(0, 10, power=1.0, base=1e-9, floor=1e-6) == 1e-9
    assert poly(0, 10, power=1.0, base=0.0, floor=1e-6) == 0.0
