"""The file of what all requests came to."""

from __future__ import annotations

from pathlib import Path

from loadtests.load.samples import Sample, SampleFile, SampleReader


def test_a_reader_gets_each_sample_once_and_only_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    reader = SampleReader(path)
    assert reader.new() == []
    first, second = Sample("POST", "stream", 0.5, 12.0), Sample("429", "compose", 1.0, end="refused")
    with path.open("w", encoding="utf-8") as file:
        written = SampleFile(file)
        written.write(first)
        assert reader.new() == [first]
        written.write(second)
        file.write('{"method": "PO')
        file.flush()
        assert reader.new() == [second]
        assert reader.new() == []
