"""Which parameters can be told apart, and which rates that allows: a numerical check for any gate and any expert."""

from gatewise.infer.identifiability.advice import Advice, MixtureInputs, advise
from gatewise.infer.identifiability.atoms import Atom
from gatewise.infer.identifiability.check import identify_atom
from gatewise.infer.identifiability.compose import identify
from gatewise.infer.identifiability.fitted import assess
from gatewise.infer.identifiability.leaf import leaf_atom
from gatewise.infer.identifiability.relations import Relation
from gatewise.infer.identifiability.result import Identifiability
from gatewise.infer.identifiability.verdict import IdentifiabilityVerdict

__all__ = [
    "Advice",
    "Atom",
    "Identifiability",
    "IdentifiabilityVerdict",
    "MixtureInputs",
    "Relation",
    "advise",
    "assess",
    "identify",
    "identify_atom",
    "leaf_atom",
]
