"""The mathematics: gates, experts, families, mixtures and their derivatives, as functions of tensors. torch only.

**The model.** A mixture of experts says how a response y depends on inputs x through one choice among L experts:

    p(y | x) = sum_l  pi_l(x) f(y | eta_l(x), phi_l)          E[y | x] = sum_l  pi_l(x) mean(eta_l(x))

The *gate* gives the weights pi_l(x), which sum to one; the *expert* of leaf l gives the predictor eta_l(x), one number
for each of q outputs; the *family* f is the law of y around it, with parameters phi_l of its own, such as a scale. On
a tree of levels with branchings (K_1, ..., K_D) every node has a gate, and pi_l is the product of the weights on the
path to leaf l, so that L = K_1 ... K_D. The *mixing measure* G is all parameters together.

**A gate is a score and a link.** The score s_j(x) compares branches: ``weight . x + bias`` (`Affine`), ``bias - ||x -
center||`` (`Distance`), a score over a temperature (`Tempered`) and so on. The link turns the K scores of a node into
weights: ``exp(s_j) / sum_i exp(s_i)`` (`Softmax`), ``sigmoid(s_j) / sum_i sigmoid(s_i)`` (`NormalisedSigmoid`), the k
largest (`TopK`). ``Gate(Distance(), Softmax())`` is the Laplace gate; every gate of the literature is one such pair.

**A part is a description without numbers.** Scores, links, experts and families are frozen dataclasses. They say which
parameters they have (`Parameter`: shape, role, transform, bounds) and compute with tensors that are passed in:

    ===========  ========================================  =====================================================
    part         must define                               value
    ===========  ========================================  =====================================================
    `Score`      ``parameters(d)``, ``__call__``           ``(params, x) -> (*B, K, n)``
    `Link`       ``log_weights``, ``logits``               scores ``(*B, K, n)`` -> log weights ``(*B, K, n)``
    `Expert`     ``parameters(d)``, ``__call__``           ``(params, x) -> (*B, L, q, n)``
    `Family`     ``parameters(q)``, ``log_prob``,          ``(params, y, eta) -> (*B, L, n)``
                 ``mean``, ``variance``, ``sample``        moments and draws ``(*B, L, q, n)``
    ===========  ========================================  =====================================================

A parameter of a score or an expert belongs to one branch or output and has the shape ``(*B, K, *shape)``; one of a
family belongs to one leaf, ``(*B, L, *shape)``. Its *role* says what it is (`parameters.ROLES`: slope, intercept,
location, temperature, scale, ...). Starts, summaries and fits ask for roles and never for names, so names are free.

**Shapes.** Rows come last: x is ``(*B, d, n)``, y ``(q, n)``. Every leading dimension is batch (``*B``: starts, data
sets); an inner level of a tree is one more. Weights are computed as logarithms until the last line.

**Derivatives.** The log density is differentiated by hand once, in the scores and predictors of a row; a part adds its
own derivatives in its parameters by ``value_and_derivatives``. A part that does not define it is differentiated
automatically: right at once, fast later. `rescale` and `rescale_response` say how parameters move with the units of x
and y, so that fits can work in standardised units; a part without them is fitted in the units given.

**Where things stand.** `parameters` (their descriptions), `predictors` (what scores and experts have in common),
`scores`, `links`, `gates` (GATES), `experts` (EXPERTS), `families` (FAMILIES), `by_leaf` (experts that differ in kind),
`tree` (the product along a path), `mixture` (`Mixture`, `Measure`, density, mean, samples). A new part is one class in
its own file and one line in its catalogue; ``gatewise.testing.check_gate``, ``check_expert`` and ``check_family`` say
what is wrong with it.

Examples
--------
>>> import torch
>>> from gatewise.core.gates import Gate
>>> from gatewise.core.mixture import Measure, Mixture, regression
>>> gate = {"weight": torch.tensor([[0.0], [2.0]]), "bias": torch.zeros(2)}
>>> experts = {"coef": torch.tensor([[[1.0]], [[-1.0]]]), "intercept": torch.zeros(2, 1)}
>>> measure = Measure((gate,), experts, {"scale": torch.ones(2, 1)})
>>> x = torch.tensor([[0.0, 1.0]])
>>> regression(Mixture((Gate(),), (2,)), measure, x, x)
tensor([[ 0.0000, -0.7616]])
"""
