"""A program under construction: rows of the work array, instructions, constants and the numbers that come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gatewise.objective.compiled import codes

VALUE, GRADIENT, HESSIAN, COMPLETE, MASS = range(5)  # of the log-likelihood
SQUARES_VALUE, SQUARES_GRADIENT, GAUSS_NEWTON, SQUARES_HESSIAN, SQUARES_MASS = range(5, 10)  # of least squares
ORDERS = (0, 1, 2, 2, 0, 0, 1, 1, 2, 0)  # of the derivatives that are needed row by row
PAIRED = (HESSIAN, COMPLETE, GAUSS_NEWTON, SQUARES_HESSIAN)  # with sums for every pair of coordinates
X, GATE_X, Y, WEIGHT = range(4)  # sources of numbers
MERGED = {codes.MULTIPLY, codes.MULTIPLY_ADD, codes.TWO_PRODUCTS}


class Ref(NamedTuple):
    """Rows of several owners: the first row, and the step (0 or 1) to the next owner's."""

    row: int
    step: int = 1

    def of(self, owner: int) -> int:
        """Return the row of one owner."""
        return self.row + owner * self.step


class Features(NamedTuple):
    """A set of features: products from row `products` on, then d features v from row `first` on, then ones.

    The products ``v_i v_j`` for i <= j < d stand column by column: so products of the first features, of all features
    with one, and of all features are neighbours.
    """

    place: int
    products: int
    first: int
    d: int


@dataclass
class Program:
    """What has been written so far.

    Attributes
    ----------
    kind : int
        One of the numbers above, which are places in `KINDS`.
    height : int
        Rows in use.
    prologue : list
        Instructions that depend on the data alone.
    sources : list
        What is read into rows: x, gate_x, y or weight by number, the first row, and the place of a center or -1.
    filled : list
        Rows of ones.
    numbers : int
        Numbers that come out per member; number 0 stays zero.
    """

    kind: int
    y_rows: int
    weighted: bool
    height: int = 0
    numbers: int = 1
    instructions: list[list[int]] = field(default_factory=list)
    prologue: list[list[int]] = field(default_factory=list)
    bases: dict[tuple[int, ...], int] = field(default_factory=dict)
    constants: list[float] = field(default_factory=list)
    sets: dict[tuple[int, tuple[float, ...] | None], Features] = field(default_factory=dict)
    runs: dict[tuple[int, tuple[tuple[int, ...], ...]], int] = field(default_factory=dict)
    sources: list[list[int]] = field(default_factory=list)
    filled: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.y = self.rows(self.y_rows)
        self.ones = Ref(self.rows(1), 0)
        self.weight = Ref(self.rows(1), 0) if self.weighted else self.ones
        self.sources.append([Y, self.y, -1])
        self.filled.append(self.ones.row)
        if self.weighted:
            self.sources.append([WEIGHT, self.weight.row, -1])

    @property
    def order(self) -> int:
        """Order of the derivatives."""
        return ORDERS[self.kind]

    def rows(self, count: int) -> int:
        """Return the first of `count` new rows."""
        self.height += count
        return self.height - count

    def out(self, count: int) -> int:
        """Return the place of the first of `count` new numbers."""
        self.numbers += count
        return self.numbers - count

    def constant(self, *values: float) -> int:
        """Return the place of constants."""
        self.constants.extend(values)
        return len(self.constants) - len(values)

    def features(self, source: int, d: int, origin: tuple[float, ...] | None = None) -> Features:
        """Return the features of x (source 0) or gate_x (1) less an origin, once for all who ask."""
        key = (source, origin)
        if key not in self.sets:
            products = d * (d + 1) // 2 if self.kind in PAIRED else 0
            base = self.rows(products + d)
            first, ones = base + products, self.rows(1)
            self.sources.append([source, first, -1 if origin is None else self.constant(*origin)])
            self.filled.append(ones)
            for j in range(d if products else 0):
                self.prepare(codes.MULTIPLY, j + 1, base + j * (j + 1) // 2, first, 1, first + j, 0)
            self.sets[key] = Features(len(self.sets), base, first, d)
        return self.sets[key]

    def base(self, y: int, trials: tuple[int, ...]) -> int:
        """Return the row of the part of a log density of counts that no parameter changes."""
        if (y, *trials) not in self.bases:
            self.bases[y, *trials] = self.rows(1)
            self.prepare(codes.LOG_FACTORIAL, 1, self.bases[y, *trials], y, *(trials or (self.constant(-1.0),)))
        return self.bases[y, *trials]

    def products(self, source: int, d: int, wanted: tuple[tuple[int, ...], ...]) -> int:
        """Return the first of the rows of x (or gate_x), of products of its columns, and of ones; once for all who ask.

        A product is given by its factors; without the last one it is a row before.
        """
        key = (source, wanted)
        if key not in self.runs:
            plain = self.features(source, d).first
            self.runs[key] = first = self.rows(d + len(wanted) + 1)
            self.prepare(codes.MULTIPLY, d, first, plain, 1, *self.ones)
            row = {(i,): first + i for i in range(d)}
            for to, factors in enumerate(wanted, first + d):
                row[factors] = to
                self.prepare(codes.MULTIPLY, 1, to, row[factors[:-1]], 0, row[factors[-1:]], 0)
            self.prepare(codes.MULTIPLY, 1, first + d + len(wanted), *self.ones, *self.ones)
        return self.runs[key]

    def prepare(self, code: int, count: int, *arguments: int) -> None:
        """Append an instruction to those that depend on the data alone."""
        line = [code, count, *arguments]
        self.prologue.append(line + [0] * (codes.WIDTH - len(line)))

    def emit(self, code: int, count: int, *arguments: int) -> None:
        """Append an instruction; one that carries on the last for the next owner is joined to it."""
        if code in MERGED and count == 1 and self.instructions and self._joined(code, arguments):
            return
        line = [code, count, *arguments]
        self.instructions.append(line + [0] * (codes.WIDTH - len(line)))

    def _joined(self, code: int, arguments: Sequence[int]) -> bool:
        last = self.instructions[-1]
        count = last[1]
        if last[0] != code or arguments[0] != last[2] + count:
            return False
        steps = []
        for at, row in enumerate(arguments[1::2]):
            before, step = last[3 + 2 * at : 5 + 2 * at]
            step = row - before if count == 1 else step
            if step not in (0, 1) or row != before + count * step:
                return False
            steps.append(step)
        for at, step in enumerate(steps):
            last[4 + 2 * at] = step
        last[1] += 1
        return True

    def times(self, count: int, a: Ref | None, b: Ref | None) -> Ref | None:
        """Return ``a b``; None is zero, and ones are left out."""
        if a is None or b is None:
            return None
        if self.ones in (a, b):
            return b if a == self.ones else a
        to = Ref(self.rows(count))
        self.emit(codes.MULTIPLY, count, to.row, *a, *b)
        return to

    def plus(self, count: int, a: Ref | None, b: Ref | None) -> Ref | None:
        """Return ``a + b``; None is zero."""
        if a is None or b is None:
            return b if a is None else a
        return self.sum(count, a, b)

    def product(self, count: int, a: Ref, b: Ref) -> Ref:
        """Return ``a b``, neither of them zero."""
        found = self.times(count, a, b)
        assert found is not None
        return found

    def sum(self, count: int, a: Ref, b: Ref, sign: int = 1) -> Ref:
        """Return ``a + b``, or ``a - b`` with the sign -1; neither of them is zero."""
        to = Ref(self.rows(count))
        self.emit(codes.ADD, count, to.row, *a, *b, sign)
        return to

    def minus(self, count: int, a: Ref) -> Ref:
        """Return ``-a``."""
        to = Ref(self.rows(count))
        self.emit(codes.NEGATE, count, to.row, *a)
        return to
