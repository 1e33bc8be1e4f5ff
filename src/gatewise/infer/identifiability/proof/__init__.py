"""Proofs of linear relations between derivatives, and of their absence, from the code of gates, experts and families.

`trace` reads expressions from torch code, `jets` differentiates them in any arithmetic: `modular` guesses relations,
`polynomials` and `solve` prove them, `enclosures` and `certificate` prove that there are no others.
"""

from gatewise.infer.identifiability.proof.proving import prove
from gatewise.infer.identifiability.proof.result import Proof, ProvedRelation

__all__ = ["Proof", "ProvedRelation", "prove"]
