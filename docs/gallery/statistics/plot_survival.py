"""
Times to an event, some of them censored
========================================

How to fit Weibull experts to survival times of which a part is only known to be later, and compare them with the
curves of Kaplan and Meier.
"""

# %%
# Machines fail by wear (short lives when the load is high) or by age (long lives). Three inputs; observation ends
# after a random time, and machines that still run then are censored. The response has two columns: the time, and 1
# where it ended with a failure.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import compare, moe
from gatewise.plots import COLOURS

rng = np.random.default_rng(1)
n = 700
machines = pd.DataFrame({"load": rng.uniform(0, 1, n), "heat": rng.normal(size=n), "oil": rng.normal(size=n)})
wear = rng.random(n) < 1 / (1 + np.exp(-8 * (machines.load - 0.5)))
scale = np.exp(np.where(wear, 0.2 - 0.4 * machines.heat, 2.0 + 0.3 * machines.oil))
life = scale * np.where(wear, rng.weibull(1.2, n), rng.weibull(3.0, n))
end = rng.uniform(1, 12, n)
machines["time"], machines["failed"] = np.minimum(life, end), (life <= end).astype(float)
print(f"censored: {1 - machines.failed.mean():.0%} of {n} machines")

# %%
# One expert is a Weibull regression; two experts with a gate that reads the load are a mixture of two.

single = moe("time + failed ~ heat + oil + load", machines, n_experts=1, family="weibull", n_init=1)
model = moe("time + failed ~ heat + oil", machines, gate_formula="~ load", family="weibull", n_init=5, random_state=0)
model = model.relabel("size")
print(
    compare(single, model, names=["one expert", "two experts"])[["log_likelihood", "df", "bic", "status"]]
    .round(1)
    .to_string()
)
print(model.summary().experts.round(2).to_string())

# %%
# Survival of the machines with low and high load: the mixture's curve is the mean over the machines of the group of
# ``sum_k gate_k exp(-(t / scale_k)^shape_k)``; the steps are the estimate of Kaplan and Meier, which knows no model.


def kaplan_meier(time, failed):
    """Return times of failures and the survival after each."""
    order = np.argsort(time)
    at_risk = len(time) - np.arange(len(time))
    return time[order], np.cumprod(1 - failed[order] / at_risk)


def survival(fitted, rows, times):
    """Return the mean survival of rows at times."""
    eta = fitted.intercept_[:, 0] + rows[["heat", "oil"]].to_numpy() @ fitted.coef_[:, 0].T
    each = np.exp(-((times[:, None, None] / np.exp(eta)) ** fitted.shape_[:, 0]))
    return (fitted.gate_proba(rows) * each).sum(2).mean(1)


figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
times = np.linspace(0.01, 11, 200)
groups = {"low load": machines.load < 1 / 3, "high load": machines.load > 2 / 3}
for k, (name, own) in enumerate(groups.items()):
    at, steps = kaplan_meier(machines.time[own].to_numpy(), machines.failed[own].to_numpy())
    ax.step(at, steps, where="post", color=COLOURS[k + 2], lw=1, alpha=0.8, label=f"{name}: Kaplan-Meier")
    ax.plot(times, survival(model, machines[own], times), color=COLOURS[k + 2], ls="--", lw=2, label=f"{name}: mixture")
ax.set(xlabel="time (years)", ylabel="share that still runs", ylim=(0, 1.02), xlim=(0, 11))
ax.legend(frameon=False, fontsize=9)
plt.show()
assert model.bic() < single.bic()

# %%
# **Conclusion.** Two laws of failure describe the machines better than one, and their curves follow those of Kaplan
# and Meier. A shape near one is a constant hazard, one near three is ageing. Leaving censored machines out, or taking
# their times as failures, would have made lives too short.
