"""Models of several modalities, of which some may be missing: fusion by gates, and two baselines of equal size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatewise.experiments.experiment import gates_of
from gatewise.experiments.heads import Head, combined
from gatewise.nn import FusionMoE, TimeAttention

EXPERTS, GROUPS, KEPT = 8, (2, 4), 2  # flat, on two levels, and how many serve a token
DIM, HIDDEN = 32, 32  # features of the fused token, hidden units of an expert
TOKEN = 32  # features of a token of a series
CONCATENATION, LATE = "concatenation", "late fusion"
BASELINES = (CONCATENATION, LATE)


class MultimodalSetting(NamedTuple):
    """What a model fuses and answers.

    Attributes
    ----------
    dims : mapping of str to int
        Features by modality, of a series those of its tokens.
    router : str
    outputs : int
    head : Head
    channels : mapping of str to int
        Of the modalities that are series.
    references : tuple of float
        Times at which series become tokens.
    """

    dims: Mapping[str, int]
    router: str
    outputs: int
    head: Head
    channels: Mapping[str, int] = {}
    references: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, x: Mapping[str, Tensor], router: str, outputs: int, head: Head, references: tuple[float, ...] = ()
    ) -> MultimodalSetting:
        """Return the setting of features ``(n, d)`` and series ``(n, T, 1 + c)``, times first."""
        channels = {name: value.shape[-1] - 1 for name, value in x.items() if value.ndim == 3}
        dims = {name: TOKEN if name in channels else value.shape[-1] for name, value in x.items()}
        return cls(dims, router, outputs, head, channels, references)


class Gated(nn.Module):
    """FusionMoE, then a linear map to the answers."""

    def __init__(self, gate: str, setting: MultimodalSetting) -> None:
        super().__init__()
        gates = gates_of(gate)
        experts = EXPERTS if len(gates) == 1 else GROUPS
        self.fusion = FusionMoE(setting.dims, DIM, HIDDEN, experts, setting.router, gates, KEPT, bias=True)
        self.head = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, setting.outputs))

    def forward(self, x: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
        return self.head(self.fusion(x, there))


class Concatenation(nn.Module):
    """One network of two hidden layers on all modalities side by side, zeros where missing, and the masks."""

    def __init__(self, setting: MultimodalSetting, hidden: int) -> None:
        super().__init__()
        self.network = _network(sum(setting.dims.values()) + len(setting.dims), hidden, setting.outputs)

    def forward(self, x: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
        values = [torch.where(there[name][..., None], x[name], 0.0) for name in x]
        masks = torch.stack([there[name] for name in x], -1)
        return self.network(torch.cat([*values, masks.to(values[0].dtype)], -1))


class LateFusion(nn.Module):
    """One network per modality; the mean of their scores (log probabilities of classes) over those that are there."""

    def __init__(self, setting: MultimodalSetting, hidden: int) -> None:
        super().__init__()
        self.head = setting.head
        self.networks = nn.ModuleList(_network(dim, hidden, setting.outputs) for dim in setting.dims.values())

    def forward(self, x: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
        present = torch.stack([there[name] for name in x])
        values = [torch.where(there[name][..., None], x[name], 0.0) for name in x]
        scores = [network(value) for network, value in zip(self.networks, values, strict=True)]
        return combined(self.head, torch.stack(scores), present)


class OverTime(nn.Module):
    """Series become tokens at reference times; a model fuses all modalities at each, its answers are averaged."""

    def __init__(self, inner: nn.Module, setting: MultimodalSetting) -> None:
        super().__init__()
        self.inner, self.times = inner, len(setting.references)
        references = torch.tensor(setting.references)
        self.attend = nn.ModuleDict(
            {name: TimeAttention(channels, TOKEN, references) for name, channels in setting.channels.items()}
        )

    def forward(self, x: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
        along = {name: one[:, None].expand(-1, self.times) for name, one in there.items()}
        return self.inner({name: self._tokens(name, x[name], there[name]) for name in x}, along).mean(1)

    def _tokens(self, name: str, x: Tensor, there: Tensor) -> Tensor:
        """Return the tokens ``(n, R, d)`` of a modality; those of features are all alike."""
        if name not in self.attend:
            return x[:, None].expand(-1, self.times, -1)
        return self.attend[name](x[..., 1:], x[..., 0], there[:, None].expand(x.shape[:2]))


def _network(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


def parameters(model: nn.Module) -> int:
    """Return the number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def equal_hidden(setting: MultimodalSetting, kind: type[Concatenation] | type[LateFusion]) -> int:
    """Return the hidden units with which a baseline is nearest in parameters to flat softmax experts."""
    wanted = parameters(Gated("softmax", setting))
    sizes = {hidden: parameters(kind(setting, hidden)) for hidden in (1, 2, 3)}
    square = (sizes[3] - 2 * sizes[2] + sizes[1]) / 2  # the number is a quadratic in the hidden units
    slope = sizes[2] - sizes[1] - 3 * square
    rest = sizes[1] - square - slope - wanted
    return max(1, round((-slope + (slope**2 - 4 * square * rest) ** 0.5) / (2 * square)))


def build(gate: str, setting: MultimodalSetting) -> nn.Module:
    """Return the model of a gate or of a baseline; all attend to series alike."""
    inner = _fusing(gate, setting)
    return OverTime(inner, setting) if setting.channels else inner


def _fusing(gate: str, setting: MultimodalSetting) -> nn.Module:
    if gate == CONCATENATION:
        return Concatenation(setting, equal_hidden(setting, Concatenation))
    if gate == LATE:
        return LateFusion(setting, equal_hidden(setting, LateFusion))
    return Gated(gate, setting)
