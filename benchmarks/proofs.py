"""Which known counts of relations are proved, which orders of polynomial systems, and what does it cost?"""

from __future__ import annotations

from typing import Any

from benchmarks.timing import cpu_seconds, table
from gatewise.infer.identifiability.known import KNOWN
from gatewise.theory.order_proofs import prove_orders


def run(**_: Any) -> dict[str, Any]:
    """Prove every row of the table of known counts, and the orders for two to four fitted atoms."""
    begin = cpu_seconds()
    rows = [_row(known) for known in KNOWN]
    table("proofs: known and proved counts of derivatives and of linear relations", rows)
    for known in KNOWN:
        if known.remark:
            print(f"{known.name}: {known.remark}")
    start = cpu_seconds()
    orders = [
        {
            "gate": proof.gate,
            "atoms": proof.m,
            "order": proof.order,
            "equations": proof.equations,
            "holds": proof.proved,
        }
        for proof in prove_orders()
    ]
    table("proofs: orders of the polynomial systems of linear Gaussian experts", orders)
    print(f"orders: {cpu_seconds() - start:.1f} CPU s; the argument is in theory/order_proofs.py")
    spent = cpu_seconds() - begin
    held = [sum(line["holds"] for line in lines) for lines in (rows, orders)]
    print(f"{held[0]} of {len(rows)} rows and {held[1]} of {len(orders)} orders proved in {spent:.1f} CPU s")
    return {"rows": rows, "orders": orders, "proved": sum(held), "CPU s": spent}


def _row(known: Any) -> dict[str, Any]:
    start = cpu_seconds()
    found = known.run(proof=True, draws=1, samples=1)
    proof = found.proof
    return {
        "table": known.source,
        "row": known.name,
        "order": found.order,
        "derivatives": f"{known.n_atoms} {proof.n_atoms}",
        "relations": f"{known.nullity} {proof.nullity}",
        "first derivatives": ", ".join(proof.parameters) or "none",
        "others independent by": "" if proof.certificate is None else proof.certificate.kind,
        "doubt": proof.doubt or "none",
        "ms": 1000 * (cpu_seconds() - start),
        "holds": known.proved(proof),
    }
