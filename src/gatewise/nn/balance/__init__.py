"""Balancing, which keeps all experts of a layer in use: its methods, the module that applies them, the statistics."""

from gatewise.nn.balance.balancer import Balancer, attach
from gatewise.nn.balance.methods import BALANCE_METHODS, BalanceMethod, ExpertShares, ShareSlopes, Sparsity
from gatewise.nn.balance.statistics import RoutingStatistics, count, kept_probability, token_sums, unpacked

__all__ = [
    "BALANCE_METHODS",
    "BalanceMethod",
    "Balancer",
    "ExpertShares",
    "RoutingStatistics",
    "ShareSlopes",
    "Sparsity",
    "attach",
    "count",
    "kept_probability",
    "token_sums",
    "unpacked",
]
