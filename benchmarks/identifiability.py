"""Are the known counts of derivatives and relations reproduced, and what does a check cost?"""

from __future__ import annotations

from typing import Any

from benchmarks.timing import cpu_seconds, table
from gatewise.infer.identifiability.known import KNOWN

SEED = 0


def run(**_: Any) -> dict[str, Any]:
    """Run every row of the table and print expected and found counts side by side."""
    lines, begin = [], cpu_seconds()
    for known in KNOWN:
        start = cpu_seconds()
        found = known.run(SEED)
        lines.append(
            {
                "table": known.source,
                "row": known.name,
                "order": found.order,
                "derivatives": f"{known.n_atoms} {found.n_atoms}",
                "relations": f"{known.nullity} {found.nullity}",
                "kept": found.kept,
                "dropped": found.dropped,
                "replaced": found.replaced,
                "first derivatives": ", ".join(found.parameters) or "none",
                "verdict": str(found.verdict),
                "ms": 1000 * (cpu_seconds() - start),
                "holds": known.reproduced(found),
            }
        )
    spent = cpu_seconds() - begin
    table("identifiability: known and found counts of derivatives and of linear relations", lines)
    held = sum(line["holds"] for line in lines)
    print(f"{held} of {len(lines)} rows reproduced in {spent:.1f} CPU s")
    for known in KNOWN:
        if known.remark:
            print(f"{known.name}: {known.remark}")
    return {"rows": lines, "reproduced": held, "CPU s": spent}
