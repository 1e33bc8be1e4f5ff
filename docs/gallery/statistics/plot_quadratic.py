"""
Quadratic gates: inside and outside
===================================

Where one expert rules inside an ellipsoid and the other outside, a softmax gate cannot help, and a quadratic one can.
"""

# %%
# Machines run in a window of temperature and pressure by one law, and outside of it by another. The third input, the
# load, does not decide; it acts on the response.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gatewise import MixtureOfExpertsRegressor, compare
from gatewise.plots import gate_surface

rng = np.random.default_rng(2)
n = 500
frame = pd.DataFrame(
    {
        "temperature (°C)": rng.normal(60, 10, n),
        "pressure (bar)": rng.normal(5, 1, n),
        "load (kW)": rng.normal(20, 4, n),
    }
)
z = (frame - frame.mean()) / frame.std()
score = 3 - 2 * (z.iloc[:, 0] ** 2 + z.iloc[:, 1] ** 2)
inside = rng.random(n) < 1 / (1 + np.exp(-score))
wear = np.where(inside, 2 + 0.2 * z.iloc[:, 2], 4 - 1.0 * z.iloc[:, 1]) + 0.4 * rng.normal(size=n)

models = {
    gate: MixtureOfExpertsRegressor(2, gate, n_init=5, random_state=0).fit(frame, wear).relabel("load (kW)")
    for gate in ("constant", "softmax", "quadratic")
}
print(compare(*models.values(), names=list(models))[["log_likelihood", "df", "bic", "status"]].round(1).to_string())

# %%
# The softmax gate is no better than a constant one by BIC: whatever line it draws, both laws lie on both sides. The
# quadratic gate finds the window.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, name in zip(axes, ("softmax", "quadratic"), strict=True):
    gate_surface(models[name], frame, ax, columns=(0, 1), expert=1)
    ax.set_title(name, fontsize=10)
plt.show()
assert models["quadratic"].bic() < models["constant"].bic() < models["softmax"].bic()

# %%
# **Conclusion.** Inside and outside is no line. A quadratic gate costs a weight for every square and product of the
# inputs, six more than a softmax gate here, and BIC says that they pay. With many inputs it needs many rows; a
# Laplace gate has a center instead.
