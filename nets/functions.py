"""Operators that map each number to another one, whatever stands beside it: integers compute them by a table."""
from dataclasses import dataclass

import numpy as np

from nets.graph import Layer

__all__ = ["Elu", "FUNCTIONS", "Function", "HardSigmoid", "HardSwish", "LeakyRelu", "Selu", "Sigmoid", "Silu", "Tanh"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Function(Layer):
    """y = f(x) of each element. Each operator defines `of`."""

    def of(self, x: np.ndarray) -> np.ndarray:
        """f of each element of a float array of any shape; the result has its type."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, eq=False)
class Sigmoid(Function):
    """1 / (1 + exp(-x))."""

    def of(self, x: np.ndarray) -> np.ndarray:
        return _sigmoid(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tanh(Function):
    """The hyperbolic tangent."""

    def of(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakyRelu(Function):
    """x, or alpha * x where x is negative."""

    alpha: float = 0.01

    def of(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, x.dtype.type(self.alpha) * x, x)


@dataclass(frozen=True, kw_only=True, eq=False)
class HardSigmoid(Function):
    """alpha * x + beta, within 0..1."""

    alpha: float = 0.2
    beta: float = 0.5

    def of(self, x: np.ndarray) -> np.ndarray:
        return _hard_sigmoid(x, self.alpha, self.beta)


@dataclass(frozen=True, kw_only=True, eq=False)
class HardSwish(Function):
    """x * (x / 6 + 1 / 2, within 0..1)."""

    def of(self, x: np.ndarray) -> np.ndarray:
        return x * _hard_sigmoid(x, 1 / 6, 0.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Elu(Function):
    """x, or alpha * (exp(x) - 1) where x is negative."""

    alpha: float = 1.0

    def of(self, x: np.ndarray) -> np.ndarray:
        return _elu(x, self.alpha)


@dataclass(frozen=True, kw_only=True, eq=False)
class Selu(Function):
    """gamma times what `Elu` makes; the defaults are those of self-normalising networks (arXiv:1706.02515)."""

    alpha: float = 1.6732632423543772
    gamma: float = 1.0507009873554805

    def of(self, x: np.ndarray) -> np.ndarray:
        return x.dtype.type(self.gamma) * _elu(x, self.alpha)


@dataclass(frozen=True, kw_only=True, eq=False)
class Silu(Function):
    """x / (1 + exp(-x)), also called swish."""

    def of(self, x: np.ndarray) -> np.ndarray:
        return x * _sigmoid(x)


FUNCTIONS = (Elu, HardSigmoid, HardSwish, LeakyRelu, Selu, Sigmoid, Silu, Tanh)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(x.dtype.type(0), -x))


def _hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    number = x.dtype.type
    return np.clip(number(alpha) * x + number(beta), number(0), number(1))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, x.dtype.type(0))), x)
