"""Neural layers: mixtures of experts with any gate of core at any level.

Further in `gatewise.nn.measures` (of routing and of experts), `gatewise.nn.hub` (files and public checkpoints) and
`gatewise.nn.parallel` (experts on several processes).
"""

from gatewise.nn.balance import Balancer, Tally
from gatewise.nn.convert import replace_ffn, upcycle
from gatewise.nn.diagnostics import History, collapse, diagnostics, observe, summarise
from gatewise.nn.experts import FFN, CoreExpert
from gatewise.nn.fusion import FusionMoE, TimeAttention
from gatewise.nn.hub import load_layer, save_layer
from gatewise.nn.layer import HMoE, MoE, set_loss_scale
from gatewise.nn.measure import from_measure
from gatewise.nn.padding import follow_mask
from gatewise.nn.params import Anneal
from gatewise.nn.router import Router, Routing
from gatewise.nn.steps import finish_step

__all__ = ["FFN", "Anneal", "Balancer", "CoreExpert", "FusionMoE", "HMoE", "History", "MoE", "Router", "Routing"]
__all__ += ["Tally", "TimeAttention", "collapse", "diagnostics", "finish_step", "follow_mask", "from_measure"]
__all__ += ["load_layer", "observe", "replace_ffn", "save_layer", "set_loss_scale", "summarise", "upcycle"]
