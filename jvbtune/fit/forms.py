"""Candidate forms of a curve over packet rate, and their non-negative least squares, many at once.

Every form is a sum of at most three increasing functions with non-negative coefficients, so every fit is increasing
by construction. A form's shape (an exponent, a bend) is taken from a grid; for each point of the grid the
coefficients follow in closed form: with so few columns, the non-negative solution is the best feasible one among all
subsets of columns. All of it is batched over sets of weights (leave-one-out replicates) and over the grid.

Packet rates are scaled to the highest one, so x is in (0, 1] where there is data, and above 1 beyond it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """A family of curves.

    ``basis(x)``: x of any shape (n,) -> (grid, n, columns), all columns non-negative and non-decreasing in x.
    """

    name: str
    formula: str
    basis: Callable[[Floats], Floats]
    grid: tuple[str, ...]  #: what each grid point means, for people
    parameters: int  #: free ones, the shape included


def _stack(*columns: Floats) -> Floats:
    return np.stack(np.broadcast_arrays(*columns), axis=-1)


def _linear(x: Floats) -> Floats:
    return _stack(np.ones_like(x), x)[None]


def _sqrt_linear(x: Floats) -> Floats:
    return _stack(np.ones_like(x), np.sqrt(np.maximum(x, 0)), x)[None]


def _quadratic(x: Floats) -> Floats:
    return _stack(np.ones_like(x), x, x**2)[None]


EXPONENTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0)


def _power(x: Floats) -> Floats:
    exponents = np.array(EXPONENTS)[:, None]
    return _stack(np.ones_like(x), np.maximum(x, 0) ** exponents)


BENDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def _hinge(x: Floats) -> Floats:
    bends = np.array(BENDS)[:, None]
    return _stack(np.ones_like(x), x, np.maximum(x - bends, 0))


CONTENTION = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
COHERENCE = (0.0, 0.05, 0.15)


def _usl(x: Floats) -> Floats:
    """Gunther's universal scalability law, solved for the resource n that a throughput x needs.

    x ∝ n / (1 + σ(n − 1) + κn(n − 1)), with n scaled so that n = 1 at the highest packet rate. Beyond the peak no n
    carries x: the curve goes on along its tangent there, steeply.
    """
    curves = []
    for sigma in CONTENTION:
        for kappa in COHERENCE:
            # x·(1 + σ(n−1) + κn(n−1)) = n  ->  κx·n² + (σx − κx − 1)·n + x(1 − σ) = 0
            top = 1.25 if kappa == 0 else min(1.25, _usl_peak(sigma, kappa))
            end = min(top, 0.98 / sigma)
            inside = np.minimum(x, end)
            n = _usl_inverse(inside, sigma, kappa)
            step = 1e-4 * end
            slope = (
                _usl_inverse(np.float64(end), sigma, kappa) - _usl_inverse(np.float64(end - step), sigma, kappa)
            ) / step
            curves.append(_stack(np.ones_like(x), n + slope * np.maximum(x - end, 0)))
    return np.stack(curves)


def _usl_peak(sigma: float, kappa: float) -> float:
    n = np.sqrt((1 - sigma) / kappa)
    return float(n / (1 + sigma * (n - 1) + kappa * n * (n - 1))) * 0.999


def _usl_inverse(x: Floats | np.float64, sigma: float, kappa: float) -> Floats:
    b = 1 + kappa * x - sigma * x
    c = x * (1 - sigma)
    if kappa == 0:
        return np.asarray(c / b)
    return np.asarray(2 * c / (b + np.sqrt(np.maximum(b**2 - 4 * kappa * x * c, 0))))


#: In the order of growing freedom: of two that predict alike, the earlier one is taken.
CPU_FORMS: tuple[Form, ...] = (
    Form("linear", "c0 + a·x", _linear, ("",), 2),
    Form("power law", "c0 + a·x^k", _power, tuple(f"k={k:g}" for k in EXPONENTS), 3),
    Form("sqrt + linear", "c0 + a·√x + b·x", _sqrt_linear, ("",), 3),
    Form("quadratic", "c0 + a·x + b·x²", _quadratic, ("",), 3),
    Form("hinge", "c0 + a·x + b·max(0, x − h)", _hinge, tuple(f"h={h:g}·x_max" for h in BENDS), 4),
    Form(
        "universal scalability law",
        "c0 + a·n(x), x ∝ n/(1 + σ(n−1) + κn(n−1))",
        _usl,
        tuple(f"σ={s:g}, κ={k:g}" for s in CONTENTION for k in COHERENCE),
        4,
    ),
)


def softplus(x: Floats) -> Floats:
    return np.asarray(np.logaddexp(0.0, x), dtype=np.float64)


CAPACITIES = tuple(np.geomspace(0.2, 1.6, 90).tolist())
WIDTHS = (0.003, 0.01, 0.03, 0.08)


@cache
def loss_form(floor: float) -> Form:
    """log(1 + loss/floor) of a loss ratio that is the softplus of the packet rate over a capacity.

    Packets lost a second: w·log(1 + exp((x − c)/w)), two parameters (capacity c, width w); on the log scale a constant
    beside it is a background that load does not cause.
    """

    def basis(x: Floats) -> Floats:
        capacity = np.repeat(CAPACITIES, len(WIDTHS))[:, None]
        width = np.tile(WIDTHS, len(CAPACITIES))[:, None] * capacity
        lost = width * softplus((x - capacity) / width) / np.maximum(x, 1e-9)
        return _stack(np.ones_like(x), np.log1p(lost / floor))

    grid = tuple(f"capacity={c:.3g}·x_max, width={w:g}" for c in CAPACITIES for w in WIDTHS)
    return Form("softplus", "lost = w·log(1 + exp((x − c)/w))", basis, grid, 4)


def _delay_knee(x: Floats) -> Floats:
    capacity = np.repeat(CAPACITIES, len(WIDTHS))[:, None]
    width = np.tile(WIDTHS, len(CAPACITIES))[:, None]
    return _stack(np.ones_like(x), x, width * softplus((x - capacity) / width))


SATURATIONS = tuple(np.geomspace(0.4, 2.5, 120).tolist())


def _delay_queue(x: Floats) -> Floats:
    filled = np.minimum(x / np.array(SATURATIONS)[:, None], 0.997)
    return _stack(np.ones_like(x), x, -np.log1p(-filled))


#: Of the logarithm of a delay.
DELAY_FORMS: tuple[Form, ...] = (
    Form(
        "queue",
        "delay = d0·exp(s·x)·(1 − x/c)^−b",
        _delay_queue,
        tuple(f"c={c:.3g}·x_max" for c in SATURATIONS),
        4,
    ),
    Form(
        "knee",
        "log delay = d0 + s·x + t·w·log(1 + exp((x − c)/w))",
        _delay_knee,
        tuple(f"knee={c:.3g}·x_max, width={w:g}·x_max" for c in CAPACITIES for w in WIDTHS),
        5,
    ),
)


def nonnegative(normal: Floats, moment: Floats) -> tuple[Floats, Floats]:
    """Minimise β'Aβ − 2b'β over β ≥ 0, batched: A (..., k, k), b (..., k) -> β (..., k), minimum (...).

    Exact for the small k here: the minimum lies in the interior of some subset of columns.
    """
    k = moment.shape[-1]
    best = np.zeros(moment.shape[:-1])
    beta = np.zeros_like(moment)
    for size in range(1, k + 1):
        for columns in combinations(range(k), size):
            index = np.array(columns)
            a = normal[..., index[:, None], index]
            b = moment[..., index]
            ridge = 1e-10 * np.trace(a, axis1=-2, axis2=-1)[..., None, None] + 1e-300
            solution = np.linalg.solve(a + ridge * np.eye(size), b[..., None])[..., 0]
            value = -np.sum(solution * b, axis=-1)
            better = np.all(solution >= 0, axis=-1) & (value < best)
            best = np.where(better, value, best)
            beta[better] = 0.0
            for position, column in enumerate(columns):
                beta[..., column] = np.where(better, solution[..., position], beta[..., column])
    return beta, best


@dataclass(frozen=True)
class FormFit:
    """One form fitted under many sets of weights: the best point of its grid, and coefficients, of each."""

    form: Form
    shape: npt.NDArray[np.int64]  #: (sets,)
    beta: Floats  #: (sets, columns)
    sse: Floats  #: (sets,) weighted

    def predict(self, x: Floats) -> Floats:
        """x (n,) -> (sets, n)."""
        basis = self.form.basis(x)
        return np.asarray(np.einsum("snk,sk->sn", basis[self.shape], self.beta))

    def inverse(self, target: Floats | float, top: float = 3.0) -> Floats:
        """The least x at which each curve meets its target: (sets,); 0 if it starts above, inf if not by ``top``."""
        goal = np.broadcast_to(np.asarray(target, dtype=np.float64), self.shape.shape)
        grid = np.concatenate([[1e-6], np.geomspace(0.01, top, 220)])
        curves = self.predict(grid)
        found = np.empty(goal.shape)
        for i, (curve, level) in enumerate(zip(curves, goal, strict=True)):
            if curve[0] >= level:
                found[i] = 0.0
            elif curve[-1] < level:
                found[i] = np.inf
            else:
                found[i] = np.interp(level, curve, grid)
        return found


def fit_form(form: Form, x: Floats, y: Floats, weights: Floats) -> FormFit:
    """Weighted non-negative least squares: x, y (n,); weights (sets, n)."""
    basis = form.basis(x)
    grid, _, k = basis.shape
    products = np.einsum("gnk,gnl->ngkl", basis, basis).reshape(x.size, -1)
    normal = (weights @ products).reshape(-1, grid, k, k)
    moment = (weights @ (basis * y[None, :, None]).transpose(1, 0, 2).reshape(x.size, -1)).reshape(-1, grid, k)
    beta, value = nonnegative(normal, moment)
    shape = np.argmin(value, axis=1)
    rows = np.arange(shape.size)
    sse = np.maximum(value[rows, shape] + weights @ y**2, 0.0)
    return FormFit(form, shape, beta[rows, shape], sse)
