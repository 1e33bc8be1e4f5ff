"""The dense backend: shapes that do not depend on the routing, for exports, the transforms of torch.func and ONNX."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, vmap

from gatewise import GATES, Affine, Gate, MixtureOfExpertsRegressor, ReLU
from gatewise.nn import ExpertChoice, MoE, TopP, from_measure, separate_experts
from gatewise.testing import assert_close
from gatewise.testing.layers import draw_tokens, loss_gradients, make_layer

OPTIONS = {
    "flat": {},
    "tree": {"branching": (2, 3), "gate": ("laplace", "softmax")},
    "per level": {"branching": (2, 3), "top_k": (1, 2)},
    "all": {"top_k": None},
    "swiglu, shared": {"activation": "swiglu", "shared": 1, "scale": 0.5},
    "capacity": {"capacity": 0.6},
    "sigmoid": {"gate": "sigmoid", "normalise": "before"},
    "top-p": {"choice": TopP(0.5), "top_k": None},
    "expert choice": {"choice": ExpertChoice(), "normalise": "before"},
    "rectified": {"gate": Gate(Affine(), ReLU()), "top_k": None},
    "null experts": {"null_experts": 1, "identity_experts": 1},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def some(names, quick):
    """All names as cases, those that are not quick to check for the slow run."""
    ids = [name if isinstance(name, str) else "-".join(name[:2]) for name in names]
    marks = [() if name in quick else pytest.mark.slow for name in names]
    return [pytest.param(name, id=i, marks=mark) for name, i, mark in zip(names, ids, marks, strict=True)]


some_options = pytest.mark.parametrize("name", some(OPTIONS, {"tree"}))
SMALL = [("softmax", "linear", 2, 3, 1), ("laplace", "gelu", (2, 2), 3, 2), ("cosine", "tanh", 3, 4, 1)]


def own(**options):
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))  # noqa: E731
    return MoE(6, n_experts=5, dim_out=4, experts=make, **options)


@every_option
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_is_the_loop(options, dtype):
    one, other = (make_layer(**{"gate": "softmax", **options}, backend=b).to(dtype) for b in ("loop", "dense"))
    x = draw_tokens(one)
    expected, found = loss_gradients(one, x), loss_gradients(other, x)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert_close(found[name], value, name, 1e-5 if dtype == torch.float32 else 1e-12)
    assert torch.equal(one.balancer.now, other.balancer.now)


def test_dense_is_the_loop_for_experts_of_ones_own():
    expected, found = (loss_gradients(own(backend=backend), draw_tokens(own())) for backend in ("loop", "dense"))
    for name, value in expected.items():
        assert_close(found[name], value, name, 1e-5)


@pytest.mark.parametrize("make", [lambda **o: make_layer("softmax", **o), own], ids=["built in", "own"])
def test_what_an_expert_makes_of_tokens_it_does_not_serve_is_dropped(make):
    layer = make(backend="dense")
    x = draw_tokens(layer)
    expected, idle = layer(x).detach(), int(layer.router(x).index[0, 0])
    with torch.no_grad():
        if layer.built_in:
            layer.experts.w_in[idle] = torch.inf
        else:
            layer.experts[idle][2].weight.fill_(torch.inf)
    free = ~(layer.router(x).index == idle).any(-1)
    assert 0 < int(free.sum()) < len(x)
    assert torch.equal(layer(x)[free], expected[free])
    assert not layer(x)[~free].isfinite().all()


def test_auto_says_which_backend_it_takes():
    x = torch.randn(7, 6)
    assert make_layer("softmax", backend="auto").backend_for(x) == "grouped"
    assert own().backend_for(x) == "loop"
    assert own(top_k=None).backend_for(x) == "dense"
    seen = []
    layer = make_layer("softmax", backend="auto").eval()
    layer.experts.register_forward_hook(lambda module, args, out: seen.append(args[3]))
    vmap(layer)(torch.randn(2, 7, 6))
    layer(x)
    assert seen == ["dense", "grouped"]


def test_the_loop_inside_vmap_names_the_dense_backend():
    with pytest.raises(ValueError, match=r"the loop over experts inside torch.vmap: .* use backend='dense'"):
        vmap(make_layer("softmax", backend="loop").eval())(torch.randn(2, 7, 6))


VMAPPED = {
    "built in": lambda: make_layer("laplace", (2, 3), "auto"),
    "many features": lambda: make_layer(("laplace", "cosine"), (2, 3), "auto", dim=40),
    "own": own,
}


@pytest.mark.parametrize("make", VMAPPED.values(), ids=VMAPPED)
def test_vmap_and_gradients_of_every_sample(make):
    layer = make().eval()
    x = torch.randn(4, 7, layer.dim)
    assert_close(vmap(layer)(x), torch.stack([layer(part) for part in x]), "vmap", 1e-5)
    parameters = dict(layer.named_parameters())

    def loss(parameters, rows):
        return functional_call(layer, parameters, (rows,)).square().sum()

    found = vmap(grad(loss), (None, 0))(parameters, x)
    for i, rows in enumerate(x):
        expected = loss_gradients(layer, rows)
        for name in parameters:
            assert_close(found[name][i], expected[name], name, 1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_models_of_an_ensemble_and_derivatives_of_any_order():
    layers = [make_layer("softmax", backend="auto", seed=seed).double().eval() for seed in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)
    x = draw_tokens(layers[0])
    found = vmap(lambda p, b: functional_call(layers[0], (p, b), (x,)))(parameters, buffers)
    assert_close(found, torch.stack([layer(x) for layer in layers]), "ensemble", 1e-12)
    layer, one = layers[0], x[0]
    f = lambda row: layer(row[None])[0]  # noqa: E731
    rows = torch.autograd.functional.jacobian(lambda row: layer(row[None])[0], one)
    assert_close(jacrev(f)(one), rows, "first derivatives", 1e-12)
    layer.backend = "loop"
    expected = torch.autograd.functional.hessian(lambda row: layer(row[None]).square().sum(), one)
    layer.backend = "auto"
    assert_close(hessian(lambda row: f(row).square().sum())(one), expected, "second derivatives", 1e-10)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # linearize, of any module
@pytest.mark.parametrize("options", [{}, {"choice": TopP(0.5)}, {"capacity": 1.0}, {"shared": 1}], ids=str)
def test_derivatives_in_forward_mode_are_those_of_the_loop(options):
    layer = make_layer(("laplace", "softmax"), (2, 4), "auto", dim=16, **options).double().eval()
    x, v = torch.randn(2, 5, 16, dtype=torch.float64)
    reference = copy.deepcopy(layer)
    reference.backend = "loop"
    expected = torch.autograd.functional.jvp(reference, x, v)[1]
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), forward_ad.dual_level():
            found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, v))).tangent
        assert_close(found, expected, "forward mode", 1e-12)
    assert_close(torch.func.linearize(layer, x)[1](v), expected, "linearize", 1e-12)


def test_a_layer_in_training_inside_a_transform_says_that_it_does_not_balance():
    layer = make_layer("softmax", backend="auto")
    with pytest.warns(UserWarning, match=r"inside a transform of torch.func: nothing is counted .* model.eval\(\)"):
        vmap(layer)(torch.randn(2, 7, 6))
    assert not layer.balancer.now.any()


def exported(layer, x, strict):
    tokens = {0: torch.export.Dim("tokens", min=2)}
    return torch.export.export(layer, (x,), dynamic_shapes=(tokens,), strict=strict).module()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("strict", [False, True])
@some_options
def test_dense_layers_export_and_compile_whole(name, strict):
    torch._dynamo.reset()
    layer = make_layer(**{"gate": "softmax", **OPTIONS[name]}, backend="dense").eval()
    found = exported(layer, draw_tokens(layer), strict)
    for count in (2, 40):
        x = draw_tokens(layer, count)
        assert_close(found(x), layer(x), f"{count} tokens", 1e-6)
    if strict:
        compiled = torch.compile(layer.train(), fullgraph=True, backend="aot_eager")
        expected = loss_gradients(layer, x)["x"]
        assert_close(loss_gradients(compiled, x)["x"], expected, "compiled", 1e-6)


def test_experts_of_ones_own_export():
    layer = own().eval()
    found = exported(layer, draw_tokens(layer), strict=False)
    assert_close(found(draw_tokens(layer, 9)), layer(draw_tokens(layer, 9)), "own experts", 1e-6)


def fitted(gate, expert, branching, d, q):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, d))
    y = np.sign(x[:, :1]) + x[:, :q] + 0.3 * rng.normal(size=(120, q))
    model = MixtureOfExpertsRegressor(branching, gate, expert=expert, n_init=1, max_time=2, random_state=0)
    model.fit(x, y if q > 1 else y[:, 0])
    return from_measure(model.mixture_, model.measure_).eval(), torch.as_tensor(x), model.predict(x)


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
@pytest.mark.parametrize("case", some(SMALL, SMALL[1:2]))
@pytest.mark.parametrize("way", ["export", pytest.param("strict export", marks=pytest.mark.slow), "compile"])
def test_layers_of_fitted_models_export_and_compile_whole(case, way):
    torch._dynamo.reset()
    layer, x, expected = fitted(*case)
    if way == "compile":
        run = torch.compile(layer, fullgraph=True, backend="aot_eager")
    else:
        run = exported(layer, x[:7], strict=way == "strict export")
    np.testing.assert_allclose(run(x).detach().numpy().reshape(expected.shape), expected, atol=1e-10)


def in_onnx(layer, x):
    """What onnxruntime makes of other tokens than those that the layer was exported with."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    shapes = ({0: torch.export.Dim("tokens")},)
    program = torch.onnx.export(layer.eval(), (x[:7],), dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(out)


TIED = {"equal", "constant"}  # gates that choose by scores that tie for all tokens
onnx = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@onnx
@pytest.mark.parametrize("gate", some(GATES, {"laplace"}))
def test_onnx_gives_what_the_layer_gives(gate):
    layer = make_layer(gate, (2, 3), "auto", top_k=None if gate in TIED else 2)
    x = draw_tokens(layer, 30)
    clear = torch.ones(len(x), dtype=torch.bool)
    if gate.startswith("relu"):  # whose scores are zero for several experts at once
        scores = layer.router(x).scores
        clear = torch.stack([((s == 0).sum(-1) < 2).all(-1) for s in scores]).all(0)
    found = in_onnx(layer, x)
    assert int(clear.sum()) > 0
    assert_close(found[clear], layer(x).detach()[clear], gate, 1e-5)


@onnx
@pytest.mark.parametrize("name", some(sorted(OPTIONS.keys() - {"capacity"}), {"swiglu, shared", "expert choice"}))
def test_onnx_knows_every_option(name):
    layer = make_layer(**{"gate": "laplace", **OPTIONS[name]}, backend="auto")
    x = draw_tokens(layer, 30)
    assert_close(in_onnx(layer, x), layer(x).detach(), "onnx", 1e-5)


@onnx
def test_a_limited_capacity_in_onnx_is_refused_in_words():
    layer = make_layer("softmax", capacity=0.6)
    pytest.importorskip("onnxscript")
    with pytest.raises(Exception, match=r"a limited capacity cannot be exported to ONNX: set layer.capacity = None"):
        torch.onnx.export(layer.eval(), (draw_tokens(layer),), dynamo=True, verbose=False)


SEPARATE = pytest.param(lambda: separate_experts(make_layer("softmax", backend="auto")), marks=pytest.mark.slow)


@onnx
@pytest.mark.parametrize("make", [own, SEPARATE], ids=["own", "separate"])
def test_onnx_knows_experts_that_are_modules(make):
    layer = make()
    x = draw_tokens(layer, 30)
    assert_close(in_onnx(layer, x), layer(x).detach(), "onnx", 1e-5)


@onnx
@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
@pytest.mark.parametrize("case", some(SMALL, SMALL[:1]))
def test_onnx_predicts_what_a_fitted_model_predicts(case):
    layer, x, expected = fitted(*case)
    found = in_onnx(layer.float(), x.float()).numpy()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
