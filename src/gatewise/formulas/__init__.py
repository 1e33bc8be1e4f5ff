"""Model formulas: ``y ~ x + C(site)`` with a data frame to matrices, and to plain values that a file can hold.

Values in, values out: `design_of` reads formulas and a frame and returns a frozen `FormulaDesign` with its matrices;
``design.matrices(frame)`` gives those of any other frame; ``design.content()`` and `design_from` go to a file and back.
A formula is text from outside. It is read as a tree, and only the functions in `words` pass; nothing that it says is
run otherwise.
"""

from __future__ import annotations

from gatewise.formulas.design import FormulaDesign, Matrices, design_from, design_of

__all__ = ["FormulaDesign", "Matrices", "design_from", "design_of"]
