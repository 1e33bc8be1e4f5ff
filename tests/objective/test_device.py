"""Sums on a device are those of the processor, made of what is on it, and within its memory.

No GPU is needed. Torch on the CPU takes the same blocks and gives the numbers. Torch's device ``meta``, which computes
nothing, takes the place of the GPU where the question is what lies where: nothing may meet a tensor of the processor.
"""

import pickle
import weakref
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Softmax
from gatewise.core.mixture import Mixture
from gatewise.core.predictors import AffineTransform
from gatewise.infer.predict import _shares
from gatewise.objective import compiled, likelihood, squares
from gatewise.objective.accumulate import accumulate
from gatewise.objective.device import Device, device_named
from gatewise.objective.parameterization import make_parameterization
from gatewise.objective.rows import READ, Block, make_rows
from gatewise.testing.problems import dense, draw_measure, gate_problems, generator, leaf_problems

from ..own_parts import OwnExpert, OwnScore

CPU, META = torch.device("cpu"), torch.device("meta")
OF_LIKELIHOOD = (
    likelihood.value,
    likelihood.gradient,
    likelihood.hessian,
    likelihood.expected_complete_hessian,
    likelihood.mass,
    _shares,
)
OF_SQUARES = (squares.value, squares.gradient, squares.gauss_newton, squares.hessian, squares.mass)
ROOMY = 2**40
LINEAR = EXPERTS["linear"]


def problem(gate="softmax", branching=(3,), family="gaussian", d=3, n=1001, members=2, expert=LINEAR, **given):
    gate = GATES[gate] if isinstance(gate, str) else Gate(gate, Softmax())
    mixture = Mixture((gate,) * len(branching), branching, expert, FAMILIES[family])
    rng = np.random.default_rng(d)
    y = rng.poisson(2.0, (n, 1)) if family == "poisson" else rng.integers(0, 2, (n, 1))
    y = rng.normal(size=(n, 2)) if family == "gaussian" else y
    q = y.shape[1]
    drawn = [draw_measure(mixture, d, d, q, generator(k)) for k in range(members)]
    paths = [measure.paths() for measure in drawn]
    batch = drawn[0].map(lambda value: value[None])
    stacked = {path: torch.stack([one[path] for one in paths]) for path in paths[0]}
    batch = type(batch)(
        tuple({name: stacked[f"gates.{i}.{name}"] for name in level} for i, level in enumerate(batch.gates)),
        {name: stacked[f"experts.{name}"] for name in batch.experts},
        {name: stacked[f"family.{name}"] for name in batch.family},
    )
    return mixture, batch, make_rows(rng.normal(size=(n, d)), y, **given)


def assert_same(found, expected):
    """Every sum is right up to rounding of the largest entry of its kind."""
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11 * float(other.abs().max()))


CASES = {
    "softmax": {},
    "laplace": {"gate": "laplace", "d": 4},
    "sigmoid": {"gate": "sigmoid"},
    "poisson": {"family": "poisson", "d": 5},
    "binomial": {"family": "binomial"},
    "levels": {"branching": (2, 3), "gate": "laplace"},
    "weights": {"weight": torch.arange(1001.0, dtype=torch.float64) % 3},
    "groups": {"ends": torch.arange(7, 1002, 7), "weight": torch.arange(143.0, dtype=torch.float64) % 2 + 0.5},
    "gate inputs": {"gate_x": np.random.default_rng(9).normal(size=(1001, 3))},
    "offset": {"offset": np.random.default_rng(9).normal(size=(1001, 2))},
}


@pytest.mark.parametrize("name", CASES)
def test_sums_are_those_of_the_processor_in_blocks_of_any_size(name):
    """Copied rows in one block, and rows that are not copied in blocks that do not divide them."""
    mixture, measure, rows = problem(**CASES[name])
    assert compiled.pays(measure, rows)  # where there are kernels
    stats = OF_SQUARES if mixture.family.has_density and name in ("softmax", "weights", "levels", "offset") else ()
    stats = (*(OF_LIKELIHOOD if mixture.normalised else OF_SQUARES), *stats)
    for stat in stats:
        expected = accumulate(stat, mixture, measure, rows, 40)
        for free, copied in ((ROOMY, True), (2**13, False)):
            there = replace(rows, device=Device(CPU, free))
            assert_same(accumulate(stat, mixture, measure, there, 40), expected)
            assert (there.on_device.rows is not there) == copied


class NothingOfTheProcessor(TorchDispatchMode):
    """Torch while no operation may take both a tensor of another device and one of the processor with any axis.

    A GPU refuses these. It takes positions on the processor in brackets, and copies.
    """

    ALLOWED = ("aten.index.Tensor", "aten._to_copy.default", "aten.copy_.default")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        if str(func) not in self.ALLOWED and len({one.device for one in given}) > 1:
            raise AssertionError(f"{func} of tensors on {[str(one.device) for one in given]}")
        return func(*args, **(kwargs or {}))


def there(values):
    return torch.empty(values.shape, dtype=values.dtype, device=META)


def on_meta(stat, mixture, measure, block):
    with NothingOfTheProcessor():
        sums = Device(META, 1).on_block(stat)(mixture, measure.map(lambda value: there(value[None])), block)
    assert all(one.device == META for one in sums)


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        (gate_problems, 5),
        (leaf_problems, 11),
        pytest.param(gate_problems, 1, marks=pytest.mark.slow),
        pytest.param(leaf_problems, 1, marks=pytest.mark.slow),
    ],
)
def test_every_part_computes_on_the_device_of_the_rows(kind, share, monkeypatch):
    """All gates, experts and families, with weights; a statistic may ask for a value, and is told that it is so."""
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda value: True)
    count = 0
    for given in list(kind().values())[::share]:
        mixture, measure = given.mixture, given.measure
        block = Block(*map(there, (given.x, given.gate_x, given.y)), there(given.y[0]))
        sums = [likelihood.hessian, likelihood.expected_complete_hessian, likelihood.mass, _shares]
        for stat in sums if dense(mixture) else ():
            on_meta(stat, mixture, measure, block)
        smooth = all(gate.link.smooth for gate in mixture.gates)
        if smooth and mixture.family.outputs(len(given.y)) == len(given.y):
            on_meta(squares.hessian, mixture, measure, block)
        count += dense(mixture)
    assert count >= 5


class Shifted(OwnScore):
    """A user's score with a constant that names no device."""

    def __call__(self, params, x):
        return super().__call__(params, x) + torch.tensor([0.5, -0.5], dtype=torch.float64)[:, None]


def test_constants_of_a_users_part_are_made_on_the_device():
    mixture = Mixture((Gate(Shifted(), Softmax()),), (2,))
    measure = draw_measure(mixture, 3, 3, 1, generator(0))
    block = Block(*(there(torch.zeros(rows, 9, dtype=torch.float64)) for rows in (3, 3, 1)))
    for stat in (likelihood.value, likelihood.hessian):
        on_meta(stat, mixture, measure, block)


def test_a_constant_on_the_processor_does_not_pass_for_one_of_the_device():
    """The test above can fail: without the device around it the same statistic meets the processor."""
    mixture = Mixture((Gate(Shifted(), Softmax()),), (2,))
    measure = draw_measure(mixture, 3, 3, 1, generator(0)).map(lambda value: there(value[None]))
    block = Block(*(there(torch.zeros(rows, 9, dtype=torch.float64)) for rows in (3, 3, 1)))
    for stat in (likelihood.value, likelihood.hessian):
        with NothingOfTheProcessor(), pytest.raises((AssertionError, RuntimeError), match="cpu"):
            stat(mixture, measure, block)


class Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that operations have made and that are still there, and their peak."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        old = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in old:
                size = one.untyped_storage().nbytes()
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(one.untyped_storage(), self._gone, size)
        return out

    def _gone(self, size):
        self.now -= size


MODELS = {
    "many experts": {"branching": (48,), "d": 3},
    "many inputs": {"branching": (2,), "d": 30},
    "levels": {"branching": (3, 4), "gate": "laplace", "d": 4},
    "one expert": {"branching": (1,), "d": 3},
    "students": {"family": "student-t", "d": 5},
    "counts": {"family": "poisson", "d": 8},
    "own parts": {"gate": OwnScore(), "expert": OwnExpert(), "d": 4},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_sum_stays_within_the_memory_that_is_free(name):
    mixture, measure, rows = problem(**MODELS[name], n=2000, members=1)
    local = len(make_parameterization(mixture, rows.x.shape[1], rows.x.shape[1], rows.y.shape[1]).local)
    free = 2**27 if local > 300 else 2**22  # room for some hundred rows, more than the fewest of a block
    wide = (likelihood.gradient, likelihood.hessian, likelihood.expected_complete_hessian)
    for stat, width in ((likelihood.value, 2 * mixture.n_leaves), *((stat, local) for stat in wide)):
        device = Device(CPU, free)
        with Peak() as peak:
            accumulate(stat, mixture, measure, replace(rows, device=device), width)
        assert free / 1000 < peak.most <= free, (stat, peak.most / free)


def test_rows_are_copied_once_and_only_if_half_of_the_memory_holds_them():
    mixture, measure, rows = problem(n=1000)
    size = 8 * 1000 * (3 + 2)
    fits, short = (replace(rows, device=Device(CPU, free)) for free in (2 * size, 2 * size - 1))
    assert fits.on_device is fits.on_device
    assert fits.on_device.rows.x is fits.on_device.rows.gate_x
    assert fits.on_device.rows.x.held is not None
    assert short.on_device.rows is short
    cells = [one.on_device.cells for one in (fits, short)]
    assert cells == [2**6, 2**7]  # powers of two: 320 bytes for each are left
    assert (size // 320, 2 * size // 320) == (125, 250)
    accumulate(likelihood.value, mixture, measure, fits, 8)


def test_blocks_have_room_for_many_columns_and_are_short_where_they_come_from_files():
    mixture, measure, rows = problem(d=60, n=200)
    assert replace(rows, device=Device(CPU, ROOMY)).on_device.width(measure, 8) >= 2 * (2 * 60 + 2)
    files = make_rows(rows.x.held.T.numpy(), rows.y.held.T.numpy(), hold=False)
    places = [Device(CPU, free).taking(one) for one in (rows, files) for free in (ROOMY, 1000)]
    assert [one.most for one in places] == [200, 200, 200, READ]
    many = replace(problem(d=60, n=20_000)[2], device=Device(CPU, 2**20))
    with Peak() as peak:
        accumulate(likelihood.value, mixture, measure, many, 8)
    assert peak.most <= 2**20


def test_a_copy_on_the_device_is_not_sent_or_copied_along():
    rows = replace(problem()[2], device=Device(CPU, ROOMY))
    assert "on_device" not in vars(rows)
    kept = weakref.ref(rows.on_device.rows.y)
    for again in (pickle.loads(pickle.dumps(rows)), deepcopy(rows), replace(rows, weight=None)):  # noqa: S301
        assert "on_device" not in vars(again)
        assert again.device == rows.device
    del rows
    assert kept() is None


def test_what_is_read_from_files_is_copied_piece_by_piece_behind_its_frame(monkeypatch):
    monkeypatch.setattr("gatewise.objective.device.READ", 97)
    mixture, measure, rows = problem()
    x, y = rows.x.held.T.numpy(), rows.y.held.T.numpy()
    frame = AffineTransform(torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([2.0, 0.5, 1.0]).double())
    none = AffineTransform(torch.zeros(2).double(), torch.ones(2).double())
    far = replace(make_rows(x, y, hold=False), device=Device(CPU, ROOMY)).framed(frame, frame, none)
    assert far.x.held is None
    found = accumulate(likelihood.hessian, mixture, measure, far, 40)
    assert_same(found, accumulate(likelihood.hessian, mixture, measure, rows.framed(frame, frame, none), 40))
    assert far.on_device.rows.x.frame is None


def test_free_memory_is_what_the_driver_has_and_what_torch_keeps_for_later(monkeypatch):
    class Driver:
        mem_get_info = staticmethod(lambda place: (5000, 9000))
        memory_reserved = staticmethod(lambda place: 700)
        memory_allocated = staticmethod(lambda place: 300)

    monkeypatch.setattr(torch, "get_device_module", lambda place: Driver)
    assert Device(torch.device("cuda", 0)).free_bytes() == 5400
    assert Device(torch.device("cuda", 0), 10).free_bytes() == 10


def test_a_name_leads_to_the_gpu_that_torch_uses(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert [device_named(name) for name in ("cuda", "cuda:1")] == [Device(torch.device("cuda", i)) for i in (2, 1)]
    assert device_named(None) is device_named("cpu") is device_named("cpu:0") is None
