"""The results atlas: packed records of registered protocols, and pages that say what they say."""

import csv

import pytest
from benchmarks import atlas

from gatewise.report.study.files import claims_csv
from gatewise.theory import STUDIES, collect, confirmatory, protocol, replay, unpack
from gatewise.theory.fingerprint import describe
from gatewise.theory.store import header

PACKED = sorted(path.name.removesuffix(".tar.xz") for path in atlas.HOME.glob("*.tar.xz"))
pytestmark = pytest.mark.skipif(not PACKED, reason="source archives are without the records")
LARGEST = 40e6  # bytes of all packed files


def test_every_packed_study_is_the_confirmatory_run_of_a_registered_protocol():
    found = atlas.indexes()
    assert [f"{name}-confirmatory" for name in PACKED] == [one["study"] for one in found]
    for name, one in zip(PACKED, found, strict=True):
        study = confirmatory(STUDIES[name])
        assert protocol.version(study), name
        assert one["seed"] == study.seed
        assert one["fits"] == study.fits(), name


def test_the_table_of_claims_has_every_claim_of_the_packed_studies():
    rows = atlas.claims()
    for name in PACKED:
        mine = [(row["arm"], row["series"], row["other"]) for row in rows if row["study"] == name]
        assert mine == [(one.arm, one.series, one.other) for one in STUDIES[name].claims], name
    assert {row["study"] for row in rows} == set(PACKED)


def test_the_page_of_results_shows_the_tables_of_the_atlas():
    page = atlas.PAGE.read_text("utf-8")
    assert atlas.updated(page) == page
    assert len(atlas.TABLE.findall(page)) >= len(atlas.tables())


def test_the_page_of_results_says_how_many_claims_younger_rules_decide():
    words = " ".join(atlas.PAGE.read_text("utf-8").split())
    decided = [row for row in atlas.claims() if row["verdict"] != "unresolved"]
    at_bounds = [row for row in decided if "end at a bound" in row["reason"]]
    assert f"this decides {len(at_bounds)} claims, all but one supported" in words
    assert sorted(row["verdict"] for row in at_bounds)[:2] == ["contradicted", "supported"]
    unnamed = {
        (name, claim.arm, claim.series, claim.kind, str(claim.value))
        for name in PACKED
        for claim in STUDIES[name].claims
        if not (claim.probe or claim.other)
    }
    regular = [
        row
        for row in decided
        if "the information at the truth is regular; inconclusive" in row["reason"]
        and (row["study"], row["arm"], row["series"], row["kind"], row["claimed value"]) in unnamed
    ]
    assert f"This decides {len(regular)} claims, all supported" in words
    assert {row["verdict"] for row in regular} == {"supported"}
    alone = [
        row
        for row in decided
        if " at eps = " in row["reason"]
        and "; inconclusive" in row["reason"]
        and (row["study"], row["arm"], row["series"], row["kind"], row["claimed value"]) in unnamed
    ]
    assert [row["verdict"] for row in alone] == ["supported"]
    assert "and one claim, supported too, is decided so" in words


def test_the_atlas_is_small_enough_for_the_repository():
    assert sum(path.stat().st_size for path in atlas.HOME.iterdir()) < LARGEST


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKED)
def test_packed_records_are_judged_as_the_table_says(name, tmp_path):
    (folder,) = unpack(atlas.HOME / f"{name}.tar.xz", tmp_path)
    found = list(csv.DictReader(claims_csv(collect(confirmatory(STUDIES[name]), folder)).splitlines()))
    every = csv.DictReader(atlas.CLAIMS.read_text("utf-8").splitlines())
    kept = [row for row in every if row["study"] == found[0]["study"]]
    for row in (*found, *kept):  # the last digits are the processor's
        row.update({column: f"{float(row[column]):.8f}" for column in ("slope", "low", "high", "median slope")})
    assert found == kept


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKED)
def test_a_sample_of_packed_fits_gives_the_same_records_again(name, tmp_path):
    (folder,) = unpack(atlas.HOME / f"{name}.tar.xz", tmp_path)
    study = confirmatory(STUDIES[name])
    if header(folder)["engine"] != describe(study)["engine"]:
        pytest.skip("the records are of another version or processor, which rounds differently")
    found = replay(study, folder)
    assert found.fits
    assert not found.differing
