"""
A first mixture of experts
==========================

How to fit a mixture of two regressions with a gate, read its summary, and see whether the search for the best optimum
can be trusted.
"""

# %%
# A musician tuned tones to the octave above a stretched one. Sometimes she followed the stretched overtones,
# sometimes the true octave: two regression lines, and a gate that says how probable each of them is at every stretch
# ratio.

import matplotlib.pyplot as plt

from gatewise import MixtureOfExpertsRegressor
from gatewise.data import describe, load
from gatewise.plots import expert_curves, gate_curves, objective_per_start

tone = load("tone")
print(describe("tone").source)
model = MixtureOfExpertsRegressor(n_experts=2, gate="softmax", random_state=0).fit(tone.X, tone.y)

# %%
# ``converged`` is a certificate: gradient, Newton decrement and curvature, all from exact second derivatives, passed
# their tolerances. The last lines say how many starts reached the same value.

print(model.summary())

# %%
# Points have the colour of the expert that probably made them. Curves are thick where their expert has weight.

figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6), sharex=True, height_ratios=(2, 1), layout="constrained")
expert_curves(model, tone.X, tone.y, top, labels=("", "tuned tone / fundamental"))
gate_curves(model, tone.X, bottom, label="stretch ratio of the overtones", legend=False)
plt.show()

# %%
# A mixture has several optima. Each point below is where one start ended; those on the dashed line found the optimum
# that was selected, and a start that ended higher without being sound would be shown as a triangle.

figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
objective_per_start(model, ax)
plt.show()

# %%
# The estimates can be used for prediction: the mean of the mixture, and an interval that is wide where both ways of
# tuning are probable.

print("mean      ", model.predict(tone.X[:3]).round(2))
print("90 % from ", model.predict_interval(tone.X[:3], level=0.9)[:, 0].round(2))
print("90 % to   ", model.predict_interval(tone.X[:3], level=0.9)[:, 1].round(2))

# %%
# What the conclusion rests on, as numbers: the two slopes, and the interval of the gate's slope.

print("slopes of the experts", model.coef_[:, 0].round(3))
print(model.confint(tone.X, tone.y).round(2).to_string())

# %%
# **Conclusion.** One line has a slope of nearly one: there she followed the overtones. The other is flatter: there
# she kept near the octave. The interval of the gate's slope contains zero, so the stretch ratio hardly decides which
# way she tuned. Several starts agree on the optimum, and all others end lower, so there is no sign of a better one.
