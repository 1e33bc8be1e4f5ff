"""Neural layers: mixtures of experts with any gate of core at any level."""

from gatewise.nn.balance import Balancer, Tally
from gatewise.nn.diagnostics import summarise
from gatewise.nn.experts import FFN, CoreExpert
from gatewise.nn.layer import HMoE, MoE, set_loss_scale
from gatewise.nn.measure import from_measure
from gatewise.nn.params import Anneal
from gatewise.nn.router import Router, Routing
from gatewise.nn.steps import finish_step

__all__ = ["FFN", "Anneal", "Balancer", "CoreExpert", "HMoE", "MoE", "Router", "Routing", "Tally"]
__all__ += ["finish_step", "from_measure", "set_loss_scale", "summarise"]
