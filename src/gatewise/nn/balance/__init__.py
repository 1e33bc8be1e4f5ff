"""Balancing, which keeps all experts of a layer in use: its methods, the module that applies them, the statistics."""

from gatewise.nn.balance.attach import balanced
from gatewise.nn.balance.balancer import Balancer
from gatewise.nn.balance.kept import kept_probability
from gatewise.nn.balance.methods import BALANCE_METHODS, BalanceMethod, ExpertShares, ShareSlopes, Sparsity
from gatewise.nn.balance.statistics import RoutingStatistics, count, unpacked
from gatewise.nn.balance.token_sums import token_sums

__all__ = [
    "BALANCE_METHODS",
    "BalanceMethod",
    "Balancer",
    "ExpertShares",
    "RoutingStatistics",
    "ShareSlopes",
    "Sparsity",
    "balanced",
    "count",
    "kept_probability",
    "token_sums",
    "unpacked",
]
