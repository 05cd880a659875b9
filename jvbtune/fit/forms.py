"""Candidate forms of a curve over packet rate, and their non-negative least squares, many at once.

Every form is a sum of at most three increasing functions with non-negative coefficients, so every fit is increasing
by construction. A form's shape (an exponent, a bend) is taken from a grid; for each point of the grid the
coefficients follow in closed form: with so few columns, the non-negative solution is the best feasible one among all
subsets of columns. All of it is batched over sets of weights (leave-one-out replicates) and over the grid.

Packet rates are scaled to the highest one, so x is in (0, 1] where there is data, and above 1 beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """A family of curves.

    ``columns(x, shapes)``: x (n,), shapes (grid, what the form needs) -> (grid, n, columns), all of them non-negative
    and non-decreasing in x.
    """

    name: str
    formula: str
    columns: Callable[[Floats, Floats], Floats]
    shapes: Floats  #: (grid, …) the grid of shapes
    parameters: int  #: free ones, the shape included: fewer than the packet rates that were run

    def basis(self, x: Floats) -> Floats:
        return self.columns(x, self.shapes)


def _stack(*columns: Floats) -> Floats:
    shape = np.broadcast_shapes(*(column.shape for column in columns))
    out = np.empty((*shape, len(columns)))
    for i, column in enumerate(columns):
        out[..., i] = column
    return out


def _grid(*axes: Sequence[float]) -> Floats:
    return np.array(list(product(*axes)), dtype=np.float64)


NO_SHAPE = np.zeros((1, 0))


def _linear(x: Floats, shapes: Floats) -> Floats:
    return _stack(np.ones((len(shapes), 1)), x)


def _sqrt_linear(x: Floats, shapes: Floats) -> Floats:
    return _stack(np.ones((len(shapes), 1)), np.sqrt(np.maximum(x, 0)), x)


def _quadratic(x: Floats, shapes: Floats) -> Floats:
    return _stack(np.ones((len(shapes), 1)), x, x**2)


def _power(x: Floats, shapes: Floats) -> Floats:
    return _stack(np.ones_like(x), np.maximum(x, 0) ** shapes)


def _hinge(x: Floats, shapes: Floats) -> Floats:
    return _stack(np.ones_like(x), x, np.maximum(x - shapes, 0))


def _usl(x: Floats, shapes: Floats) -> Floats:
    """Gunther's universal scalability law, solved for the resource n that a throughput x needs.

    x ∝ n / (1 + σ(n − 1) + κn(n − 1)), with n scaled so that n = 1 at the highest packet rate. Near the peak and
    beyond it, where no n carries x, the curve goes on along its tangent.
    """
    sigma, kappa = shapes[:, :1], shapes[:, 1:]
    peak = np.sqrt((1 - sigma) / np.maximum(kappa, 1e-12))
    most = np.where(kappa > 0, peak / (1 + sigma * (peak - 1) + kappa * peak * (peak - 1)), 1 / sigma)
    end = np.minimum(1.25, 0.98 * most)
    step = 1e-4 * end
    last = _usl_inverse(end, sigma, kappa)
    slope = (last - _usl_inverse(end - step, sigma, kappa)) / step
    n = _usl_inverse(np.minimum(x, end), sigma, kappa) + slope * np.maximum(x - end, 0)
    return _stack(np.ones_like(x), n)


def _usl_inverse(x: Floats, sigma: Floats, kappa: Floats) -> Floats:
    # x·(1 + σ(n−1) + κn(n−1)) = n  ->  κx·n² − (1 + κx − σx)·n + x(1 − σ) = 0, the lesser root
    b = 1 + kappa * x - sigma * x
    c = x * (1 - sigma)
    return np.asarray(2 * c / (b + np.sqrt(np.maximum(b**2 - 4 * kappa * x * c, 0))))


#: In the order of growing freedom: of two that predict alike, the earlier one is taken.
CPU_FORMS: tuple[Form, ...] = (
    Form("linear", "c0 + a·x", _linear, NO_SHAPE, 2),
    Form("power law", "c0 + a·x^k", _power, _grid((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0)), 3),
    Form("sqrt + linear", "c0 + a·√x + b·x", _sqrt_linear, NO_SHAPE, 2),
    Form("quadratic", "c0 + a·x + b·x²", _quadratic, NO_SHAPE, 3),
    Form("hinge", "c0 + a·x + b·max(0, x − h)", _hinge, _grid((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)), 4),
    Form(
        "universal scalability law",
        "c0 + a·n(x), x ∝ n/(1 + σ(n−1) + κn(n−1))",
        _usl,
        _grid((0.1, 0.2, 0.35, 0.5, 0.65, 0.8), (0.0, 0.05, 0.15)),
        4,
    ),
)


def softplus(x: Floats) -> Floats:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


CAPACITIES = np.geomspace(0.2, 1.6, 72).tolist()
WIDTHS = (0.003, 0.007, 0.012, 0.02, 0.035, 0.06, 0.1)


@cache
def loss_form(floor: float) -> Form:
    """log(1 + loss/floor) of a loss ratio that is the softplus of the packet rate over a capacity.

    Packets lost a second: w·log(1 + exp((x − c)/w)), two parameters (capacity c, width w); on the log scale a constant
    beside it is a background that load does not cause.
    """

    def columns(x: Floats, shapes: Floats) -> Floats:
        capacity = shapes[:, :1]
        width = shapes[:, 1:] * capacity
        # less its value at 0, so that nothing is lost of nothing and the ratio rises everywhere
        lost = width * (softplus((x - capacity) / width) - softplus(-capacity / width)) / np.maximum(x, 1e-9)
        return _stack(np.ones_like(x), np.log1p(lost / floor))

    return Form("softplus", "lost = w·log(1 + exp((x − c)/w))", columns, _grid(CAPACITIES, WIDTHS), 4)


def _delay_queue(x: Floats, shapes: Floats) -> Floats:
    return _stack(np.ones_like(x), x, -np.log1p(-np.minimum(x / shapes, 0.997)))


def _delay_knee(x: Floats, shapes: Floats) -> Floats:
    capacity, width = shapes[:, :1], shapes[:, 1:]
    return _stack(np.ones_like(x), x, width * softplus((x - capacity) / width))


def _delay_wall(x: Floats, shapes: Floats) -> Floats:
    capacity, width = shapes[:, :1], shapes[:, 1:]
    return _stack(np.ones_like(x), x, 1 / (1 + np.exp(np.clip((capacity - x) / (width * capacity), -50, 50))))


#: Of the logarithm of a delay.
DELAY_FORMS: tuple[Form, ...] = (
    Form("queue", "delay = d0·exp(s·x)·(1 − x/c)^−b", _delay_queue, _grid(np.geomspace(0.4, 2.5, 100).tolist()), 4),
    Form("knee", "log delay = d0 + s·x + t·w·log(1 + exp((x − c)/w))", _delay_knee, _grid(CAPACITIES, WIDTHS), 5),
    # queues that are full hold no more: past saturation delay was seen to be flat
    Form("wall", "log delay = d0 + s·x + t/(1 + exp((c − x)/(c·w)))", _delay_wall, _grid(CAPACITIES, WIDTHS), 5),
)


def nonnegative(normal: Floats, moment: Floats) -> tuple[Floats, Floats]:
    """Minimise β'Aβ − 2b'β over β ≥ 0, batched: A (..., k, k), b (..., k), k ≤ 3 -> β (..., k), minimum (...).

    Exact: the minimum lies in the interior of some subset of the columns, and there are at most 7.
    """
    k = moment.shape[-1]
    best = np.zeros(moment.shape[:-1])
    beta = np.zeros_like(moment)
    for size in range(1, k + 1):
        for columns in combinations(range(k), size):
            solution = _solve(normal, moment, columns)
            value = -sum((solution[i] * moment[..., c] for i, c in enumerate(columns)), np.zeros(()))
            better = value < best
            for part in solution:
                better &= part >= 0
            best = np.where(better, value, best)
            for column in range(k):
                new = solution[columns.index(column)] if column in columns else 0.0
                beta[..., column] = np.where(better, new, beta[..., column])
    return beta, best


def _solve(normal: Floats, moment: Floats, columns: tuple[int, ...]) -> list[Floats]:
    """The normal equations of some columns, by Cramer's rule with a trace of a ridge; NaN-free."""
    a = [[normal[..., i, j] for j in columns] for i in columns]
    b = [moment[..., i] for i in columns]
    ridge = 1e-10 * sum((a[i][i] for i in range(len(columns))), np.zeros(())) + 1e-300
    for i in range(len(columns)):
        a[i][i] = a[i][i] + ridge
    if len(columns) == 1:
        return [b[0] / a[0][0]]
    if len(columns) == 2:
        determinant = a[0][0] * a[1][1] - a[0][1] * a[0][1] + 1e-300
        return [(b[0] * a[1][1] - b[1] * a[0][1]) / determinant, (b[1] * a[0][0] - b[0] * a[0][1]) / determinant]
    minor = [
        a[1][1] * a[2][2] - a[1][2] * a[1][2],
        a[0][2] * a[1][2] - a[0][1] * a[2][2],
        a[0][1] * a[1][2] - a[0][2] * a[1][1],
        a[0][0] * a[2][2] - a[0][2] * a[0][2],
        a[0][1] * a[0][2] - a[0][0] * a[1][2],
        a[0][0] * a[1][1] - a[0][1] * a[0][1],
    ]
    determinant = a[0][0] * minor[0] + a[0][1] * minor[1] + a[0][2] * minor[2] + 1e-300
    return [
        (b[0] * minor[0] + b[1] * minor[1] + b[2] * minor[2]) / determinant,
        (b[0] * minor[1] + b[1] * minor[3] + b[2] * minor[4]) / determinant,
        (b[0] * minor[2] + b[1] * minor[4] + b[2] * minor[5]) / determinant,
    ]


@dataclass(frozen=True)
class FormFit:
    """One form fitted under many sets of weights: the best point of its grid, and coefficients, of each."""

    form: Form
    shape: npt.NDArray[np.int64]  #: (sets,)
    beta: Floats  #: (sets, columns)
    sse: Floats  #: (sets,) weighted

    def predict(self, x: Floats) -> Floats:
        """x (n,) -> (sets, n)."""
        used, index = np.unique(self.shape, return_inverse=True)
        basis = self.form.columns(x, self.form.shapes[used])
        return np.asarray(np.einsum("snk,sk->sn", basis[index], self.beta))

    def terms(self, x: Floats) -> Floats:
        """x (n,) -> (n, terms): each term of the first set's curve that is not 0, as a share of the curve."""
        parts = self.form.columns(x, self.form.shapes[self.shape[:1]])[0] * self.beta[0]
        return np.asarray(parts[:, self.beta[0] > 0] / np.maximum(parts.sum(axis=1), 1e-300)[:, None])

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
