"""Parts that users write: a score, an expert and two families whose parameters have any names."""

from dataclasses import dataclass
from math import inf

import torch

from gatewise import Expert, Family, Parameter, Score, affine


@dataclass(frozen=True)
class OwnScore(Score):
    """``height - log(1 + exp(width) ||x - center||^2)``; `extra` names the width, which has no role."""

    extra: str = "width"
    height: str = "height"

    def parameters(self, d):
        return {"center": Parameter((d,), "location"), self.extra: Parameter(), self.height: Parameter((), "intercept")}

    def __call__(self, params, x):
        square = ((params["center"][..., None] - x.unsqueeze(-3)) ** 2).sum(-2)
        return params[self.height][..., None] - torch.log1p(torch.exp(params[self.extra])[..., None] * square)


@dataclass(frozen=True)
class OwnExpert(Expert):
    """``size sin(slope . x + phase) + level`` with names of the user's and, if he says so, their roles."""

    slope: str = "slope"
    size: str = "size"
    roles: bool = True

    def parameters(self, d):
        slope, phase, size, level = ("slope", "threshold", "output", "intercept") if self.roles else ("",) * 4
        return {
            self.slope: Parameter((d,), slope),
            "phase": Parameter((), phase),
            self.size: Parameter((), size, initial=1.0),
            "level": Parameter((), level),
        }

    def __call__(self, params, x):
        wave = torch.sin(affine(params[self.slope], params["phase"], x))
        return params[self.size][..., None] * wave + params["level"][..., None]


@dataclass(frozen=True)
class Logistic(Family):
    """Logistic noise; `spread` names its scale."""

    spread: str = "spread"
    location_scale = True

    def parameters(self, q):
        return {self.spread: Parameter((q,), "scale", transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params, y, eta):
        scale = params[self.spread][..., None]
        z = ((y - eta) / scale).abs()
        return (-z - 2 * torch.log1p(torch.exp(-z)) - torch.log(scale)).sum(-2)

    def mean(self, params, eta):
        return eta

    def variance(self, params, eta):
        return ((params[self.spread] * torch.pi) ** 2 / 3)[..., None].expand_as(eta)

    def cdf(self, params, y, eta):
        return torch.sigmoid((y - eta) / params[self.spread][..., None])

    def sample(self, params, eta, generator):
        share = torch.rand(eta.shape, generator=generator, dtype=eta.dtype).clamp(1e-9, 1 - 1e-9)
        return eta + params[self.spread][..., None] * torch.logit(share)


@dataclass(frozen=True)
class Gamma(Family):
    """Gamma with mean ``exp(eta)``; `form` names its shape. It does not say its distribution function."""

    form: str = "form"

    def parameters(self, q):
        return {self.form: Parameter((q,), "shape", transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params, y, eta):
        shape = params[self.form][..., None]
        rate = shape * torch.exp(-eta)
        return (shape * torch.log(rate) + (shape - 1) * torch.log(y) - rate * y - torch.lgamma(shape)).sum(-2)

    def mean(self, params, eta):
        return torch.exp(eta)

    def variance(self, params, eta):
        return torch.exp(2 * eta) / params[self.form][..., None]

    def sample(self, params, eta, generator):
        shape = params[self.form][..., None].expand_as(eta)
        return torch._standard_gamma(shape, generator=generator).clamp_min(1e-9) * torch.exp(eta) / shape

    def validate(self, y):
        return "a value that is not positive" if bool((y <= 0).any()) else None

    def working_response(self, y):
        return torch.log(y)
