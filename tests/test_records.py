"""Lines of records: torn ends of any length are cut off, damaged lines are named, and nothing else is lost."""

import pytest

from gatewise.runs.records import append, read_lines

RECORDS = [{"a": 1}, {"b": [1.5, None]}, {"text": "\u2028 and \x0b stay in their line"}]


@pytest.mark.parametrize("torn", [1, 100, 65_536, 70_000, 200_000])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_torn_end_is_cut_off_before_a_record_is_appended(tmp_path, torn, before):
    path = tmp_path / "records.jsonl"
    append(path, RECORDS[:before])
    with path.open("ab") as file:
        file.write(b"x" * torn)
    assert [line.fault for line in read_lines(path)] == [""] * before + ["torn"]
    append(path, [{"new": True}])
    assert [line.record for line in read_lines(path)] == [*RECORDS[:before], {"new": True}]


def test_one_damaged_byte_spoils_one_line(tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, RECORDS)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + b"\x1c" + content[at + 1 :])
        lines = list(read_lines(path))
        good = [line.record for line in lines if not line.fault]
        assert len(good) >= len(RECORDS) - (2 if content[at : at + 1] == b"\n" else 1)
        assert all(record in RECORDS for record in good)
