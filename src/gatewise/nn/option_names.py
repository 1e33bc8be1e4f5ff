"""Options of a layer under the names that other packages give them, so that a wrong name is told the right one."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, cast

Init = TypeVar("Init", bound=Callable[..., None])

ELSEWHERE = {  # what other packages call an option
    "n_experts": ("num_experts", "n_routed_experts", "num_local_experts"),
    "top_k": ("k", "topk", "num_experts_per_tok", "gating_top_n", "num_selected_experts"),
    "hidden": ("hidden_dim", "hidden_size", "intermediate_size", "moe_intermediate_size", "ffn_dim", "d_ff"),
    "dim": ("d_model", "input_dim", "in_features", "embed_dim", "input_size", "model_dim"),
    "dim_out": ("output_dim", "out_features", "output_size"),
    "gate": ("gating", "router", "gate_type"),
    "activation": ("act", "act_fn", "hidden_act", "activation_fn"),
    "capacity": ("capacity_factor",),
    "balance_weight": ("aux_loss_coef", "router_aux_loss_coef", "balance_loss_coef", "loss_coef"),
    "z_weight": ("router_z_loss_coef", "z_loss_coef"),
    "noise": ("noisy_gating",),
    "shared": ("n_shared_experts", "num_shared_experts"),
    "normalise": ("normalize", "norm_topk_prob"),
}


def names_explained(init: Init) -> Init:
    """Return a constructor that raises TypeError for an option that it does not have, naming the one that is meant."""
    known = [*signature(init).parameters][1:]

    @wraps(init)
    def checked(self: object, *args: Any, **options: Any) -> None:
        for name in options:
            if name not in known:
                meant = [own for own, others in ELSEWHERE.items() if name.lower() in others]
                meant = meant or get_close_matches(name, known, 1) or [f"one of {', '.join(known)}"]
                raise TypeError(f"{type(self).__name__} has no option {name!r}: use {meant[0]}")
        init(self, *args, **options)

    return cast(Init, checked)
