"""Small sets of cases in which every few levels of different factors meet, chosen without chance."""

from itertools import combinations, product
from math import prod

import numpy as np
import pytest


def joined(case):
    return "-".join(map(str, case.values()))


def pairs_and_slow_rest(factors, name=joined, always=lambda case: False):
    """All cases as parameters of a test, with names: as many as any two levels need, and the others marked slow.

    Cases of which `always` is true are not slow.
    """
    kept = covering(factors, 2)
    cases = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    slow = [not always(case) and case not in kept for case in cases]
    return [
        pytest.param(*case.values(), id=name(case), marks=[pytest.mark.slow] * late)
        for case, late in zip(cases, slow, strict=True)
    ]


def covering(factors, strength, allowed=None, apart=()):
    """Some of the allowed cases, among which any `strength` levels of different factors meet that meet in one of them.

    A case is a dict with one level of every factor. Greedy: levels that have not met yet enter by the allowed case in
    which most levels meet for the first time. Factors that stand apart need not meet each other. `allowed` maps the
    names of some factors to a function of a case with these factors alone; all have to hold.
    """
    sizes = [len(levels) for levels in factors.values()]
    codes = np.indices(sizes, dtype=np.int32).reshape(len(sizes), -1)
    held = {place for place, name in enumerate(factors) if name in apart}
    groups = [group for group in combinations(range(len(sizes)), strength) if len(held & set(group)) < 2]
    groups.sort(key=lambda group: -prod(sizes[i] for i in group))
    keys = [np.ravel_multi_index(tuple(codes[i] for i in group), [sizes[i] for i in group]) for group in groups]
    met = [np.zeros(prod(sizes[i] for i in group), dtype=bool) for group in groups]

    def case(place):
        return {name: levels[code] for (name, levels), code in zip(factors.items(), codes[:, place], strict=True)}

    may, chosen = permitted(factors, allowed or {}, codes), []
    for own, seen in zip(keys, met, strict=True):
        for key, places in enumerate(np.split(np.argsort(own, kind="stable"), len(seen))):
            if seen[key]:
                continue
            open_places = places[may[places]]
            if len(open_places):
                new = sum(~each[their[open_places]] for their, each in zip(keys, met, strict=True))
                best = open_places[new.argmax()]
                chosen.append(case(best))
                for their, each in zip(keys, met, strict=True):
                    each[their[best]] = True
    return chosen


def permitted(factors, rules, codes):
    """Whether all rules hold at every place, whose levels `codes` tells: a rule is asked once for what it reads."""
    may = np.ones(codes.shape[1], dtype=bool)
    for names, rule in rules.items():
        read = [factors[name] for name in names]
        holds = np.array([rule(dict(zip(names, levels, strict=True))) for levels in product(*read)], dtype=bool)
        own = tuple(codes[list(factors).index(name)] for name in names)
        may &= holds[np.ravel_multi_index(own, [len(levels) for levels in read])]
    return may


def slow_rest(cases, kept):
    """All cases as parameters of a test, those marked slow that are not kept.

    `kept` is a collection of cases or a function of one; a tuple stands for several parameters.
    """
    keeps = kept if callable(kept) else kept.__contains__
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    marks = [() if keeps(case) else pytest.mark.slow for case in cases]
    return [pytest.param(*value, marks=mark) for value, mark in zip(values, marks, strict=True)]
