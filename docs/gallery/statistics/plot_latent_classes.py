"""
Latent classes
==============

How to find classes of people behind the answers to several questions, with a covariate that makes a class more or
less probable.
"""

# %%
# Five questions, answered yes or no. Given the class, answers are independent; the class depends on age. In
# gatewise's words: constant experts with one binomial column per question, and a gate that reads the covariate.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import moe, select
from gatewise.plots import COLOURS, rootogram

rng = np.random.default_rng(1)
n = 700
yes = np.array([[0.9, 0.85, 0.8, 0.2, 0.1], [0.2, 0.3, 0.8, 0.9, 0.7], [0.1, 0.1, 0.2, 0.1, 0.6]])
people = pd.DataFrame({"age": rng.uniform(20, 80, n)})
score = np.stack([(people.age - 50) / 8, 0 * people.age, -(people.age - 50) / 8], 1)
true = (score + rng.gumbel(size=score.shape)).argmax(1)
questions = ["reads", "gardens", "cooks", "travels", "games"]
for k, question in enumerate(questions):
    people[question] = (rng.random(n) < yes[true, k]).astype(float)

formula = " + ".join(questions) + " ~ 1"
start = moe(formula, people, gate_formula="~ age", family="binomial", n_experts=2, n_init=8, random_state=0)
found = select(start, n_experts=(1, 2, 3, 4))
print(found.table[["n_experts", "log_likelihood", "df", "bic", "status"]].round(1).to_string(index=False))
classes = found.best_estimator_

# %%
# BIC chooses the true number. Profiles: the probability of a yes to every question in every class, with the truth as
# crosses; and how probable each class is at each age. The classes are ordered by the first question.

classes = classes.relabel(np.argsort(-classes.intercept_[:, 0]))
profile = 1 / (1 + np.exp(-classes.intercept_))
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
for k, mark in enumerate("o^s"):
    left.plot(questions, profile[k], marker=mark, color=COLOURS[k], label=f"class {k}")
    left.plot(questions, yes[k], "x", color="black", ms=6, label="truth" if k == 2 else None)
left.set(ylabel="probability of a yes", ylim=(-0.03, 1.03))
left.legend(frameon=False, fontsize=8)
ages = pd.DataFrame({"age": np.linspace(20, 80, 101)})
for k, share in enumerate(classes.gate_proba(ages).T):
    right.plot(ages.age, share, color=COLOURS[k], ls=("-", "--", ":")[k])
right.set(xlabel="age (years)", ylabel="probability of the class", ylim=(-0.03, 1.03))
plt.show()

# %%
# How well can a person be assigned? The rootogram shows posterior probabilities: bars between 0 and 1 are people
# about whom five answers do not decide.

print(classes.classification())
figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
rootogram(classes, ax=ax)
plt.show()
assert classes.mixture_.branching == (3,)

# %%
# **Conclusion.** BIC finds the three classes that made the answers, and the profiles are near the true ones. Older
# people are rarely in the last class. For many people the class stays uncertain: use posterior probabilities, not
# assignments, for what follows.
