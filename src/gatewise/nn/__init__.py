"""Mixture-of-experts layers for torch, with the gates of `gatewise.GATES` in one or several levels.

`MoE` replaces a feed-forward network; `replace_ffn` and `upcycle` convert existing models. Balancing needs no change of
the training loop. The guide is ``docs/guide/engineer``.
"""

from gatewise.nn.balance import (
    BALANCE_METHODS,
    BalanceMethod,
    Balancer,
    ExpertShares,
    RoutingStatistics,
    ShareSlopes,
    Sparsity,
)
from gatewise.nn.choice import Choice
from gatewise.nn.convert import replace_ffn
from gatewise.nn.diagnostics import History, collapse, diagnostics, observe, summarise
from gatewise.nn.experts import FFN, CoreExpert
from gatewise.nn.from_fit import from_measure
from gatewise.nn.fusion import FusionMoE, TimeAttention
from gatewise.nn.hub import (
    from_block,
    from_state_dict,
    load_block,
    load_layer,
    save_block,
    save_layer,
    to_block,
    to_config,
    to_state_dict,
)
from gatewise.nn.layer import HMoE, MoE
from gatewise.nn.metrics import (
    Similarity,
    change_rate,
    domain_table,
    expert_similarity,
    gate_movement,
    gate_state,
    jain,
    logit_norm,
    mutual_information,
    overlap,
    saturation,
)
from gatewise.nn.padding import follow_mask
from gatewise.nn.parallel import (
    average_gradients,
    clip_gradients,
    expert_names,
    expert_parallel,
)
from gatewise.nn.params import Anneal
from gatewise.nn.resizing import add_experts, merge_experts, prune_experts
from gatewise.nn.router import Router, Routing
from gatewise.nn.rules import CHOICE_RULES, ChoiceRule, ExpertChoice, Largest, Sinkhorn, TopP
from gatewise.nn.separate import separate_experts
from gatewise.nn.states import TrainingState, full_state_dict, load_full_state_dict, sharded_state_dict
from gatewise.nn.training import finish_step, set_loss_scale
from gatewise.nn.upcycling import upcycle

__all__ = [
    "BALANCE_METHODS",
    "CHOICE_RULES",
    "FFN",
    "Anneal",
    "BalanceMethod",
    "Balancer",
    "Choice",
    "ChoiceRule",
    "CoreExpert",
    "ExpertChoice",
    "ExpertShares",
    "FusionMoE",
    "HMoE",
    "History",
    "Largest",
    "MoE",
    "Router",
    "Routing",
    "RoutingStatistics",
    "ShareSlopes",
    "Similarity",
    "Sinkhorn",
    "Sparsity",
    "TimeAttention",
    "TopP",
    "TrainingState",
    "add_experts",
    "average_gradients",
    "change_rate",
    "clip_gradients",
    "collapse",
    "diagnostics",
    "domain_table",
    "expert_names",
    "expert_parallel",
    "expert_similarity",
    "finish_step",
    "follow_mask",
    "from_block",
    "from_measure",
    "from_state_dict",
    "full_state_dict",
    "gate_movement",
    "gate_state",
    "jain",
    "load_block",
    "load_full_state_dict",
    "load_layer",
    "logit_norm",
    "merge_experts",
    "mutual_information",
    "observe",
    "overlap",
    "prune_experts",
    "replace_ffn",
    "saturation",
    "save_block",
    "save_layer",
    "separate_experts",
    "set_loss_scale",
    "sharded_state_dict",
    "summarise",
    "to_block",
    "to_config",
    "to_state_dict",
    "upcycle",
]
