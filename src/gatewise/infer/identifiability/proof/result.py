"""What was proved."""

from __future__ import annotations

from typing import NamedTuple

from gatewise.infer.identifiability.columns import Derivative
from gatewise.infer.identifiability.proof.certificate import Certificate


class ProvedRelation(NamedTuple):
    terms: tuple[str, ...]
    coefficients: tuple[str, ...]
    negative: tuple[bool, ...]


class Proof(NamedTuple):
    columns: tuple[Derivative, ...]
    zero: tuple[Derivative, ...]
    relations: tuple[ProvedRelation, ...]
    certificate: Certificate | None
    doubt: str
