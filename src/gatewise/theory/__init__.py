"""Convergence studies: Voronoi losses, claimed rates, population exponents, runs that resume, verdicts."""

from gatewise.theory.arms import Arm, Blind, Data, Model, NearTruth
from gatewise.theory.checks import check, series_of
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.inputs import Inputs, Normal, Uniform
from gatewise.theory.population import population_exponent
from gatewise.theory.population_rules import Ball, Cube
from gatewise.theory.probes import run_probes
from gatewise.theory.result import StudyResult, collect
from gatewise.theory.runner import load, run
from gatewise.theory.study import Study, long, quick
from gatewise.theory.truths import outside
from gatewise.theory.verdict import curve

__all__ = [
    "Arm",
    "Ball",
    "Blind",
    "Claim",
    "Cube",
    "Data",
    "Inputs",
    "Model",
    "NearTruth",
    "Normal",
    "Probe",
    "Study",
    "StudyResult",
    "Uniform",
    "check",
    "collect",
    "curve",
    "load",
    "long",
    "outside",
    "population_exponent",
    "quick",
    "run",
    "run_probes",
    "series_of",
]
