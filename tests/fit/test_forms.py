"""Non-negative least squares in closed form, and the shapes of the forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from jvbtune.fit.forms import CPU_FORMS, DELAY_FORMS, Form, fit_form, loss_form, nonnegative

ALL = (*CPU_FORMS, *DELAY_FORMS, loss_form(1e-5))


@given(seed=st.integers(0, 10_000), columns=st.integers(1, 3))
def test_as_good_as_lawson_and_hanson(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    design = rng.random((12, columns))
    y = design @ rng.standard_normal(columns) + rng.standard_normal(12)
    beta, value = nonnegative((design.T @ design)[None], (design.T @ y)[None])
    reference = nnls(design, y)[1] ** 2
    assert np.all(beta >= 0)
    assert float(value[0] + y @ y) == pytest.approx(reference, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
def test_every_column_of_every_shape_rises_and_is_not_negative(form: Form) -> None:
    x = np.linspace(0.001, 3, 400)
    basis = form.basis(x)
    assert basis.shape[:2] == (len(form.shapes), x.size)
    assert np.all(np.isfinite(basis))
    assert np.all(basis >= 0)
    assert np.all(np.diff(basis, axis=1) >= -1e-9)


@pytest.mark.parametrize("form", CPU_FORMS, ids=lambda form: form.name)
def test_a_curve_of_its_own_kind_is_found_again(form: Form) -> None:
    x = np.linspace(0.1, 1, 12)
    shape = len(form.shapes) // 2
    y = form.basis(x)[shape] @ np.array([0.1, 0.4, 0.3])[: form.basis(x).shape[-1]]
    fit = fit_form(form, x, y, np.ones((1, x.size)))
    assert fit.predict(x)[0] == pytest.approx(y, rel=1e-4)
    goal = float(y[7])
    assert fit.inverse(goal)[0] == pytest.approx(x[7], rel=2e-3)


def test_an_inverse_that_is_not_there() -> None:
    fit = fit_form(CPU_FORMS[0], np.array([0.5, 1.0]), np.array([0.3, 0.4]), np.ones((1, 2)))
    assert fit.inverse(0.1)[0] == 0
    assert np.isinf(fit.inverse(5.0)[0])
