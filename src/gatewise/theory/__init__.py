"""Convergence studies: Voronoi losses, claimed rates, population exponents, runs that resume, verdicts."""

from gatewise.theory.arms import Arm, Blind, Data, Model, NearTruth
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.inputs import Inputs, Normal, Uniform
from gatewise.theory.probes import run_probes
from gatewise.theory.result import StudyResult, collect
from gatewise.theory.runner import load, run
from gatewise.theory.study import Study, long, quick

__all__ = [
    "Arm",
    "Blind",
    "Claim",
    "Data",
    "Inputs",
    "Model",
    "NearTruth",
    "Normal",
    "Probe",
    "Study",
    "StudyResult",
    "Uniform",
    "collect",
    "load",
    "long",
    "quick",
    "run",
    "run_probes",
]
