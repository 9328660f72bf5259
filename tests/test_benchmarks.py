"""Speed: the benchmark measures what it says, and its page shows that."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import models, parts, run, timing
from benchmarks.__main__ import main
from benchmarks.models import PAPER, TINY
from efa.config import build
from efa.utils.errors import InputError
from efa_book import benchmarks as shown

ROOT = Path(__file__).resolve().parents[1]


# the models that are held against each other --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs():
    return models.bert(TINY, deviation=0.4)  # large weights, so that texts are no repetition of one word


def test_equal_models_give_equal_logits(theirs):
    ours, fused = models.decoder(TINY, theirs), models.memory(TINY, TINY.memory)
    tokens = torch.randint(0, TINY.vocabulary, (1, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = theirs(input_ids=tokens, encoder_hidden_states=fused).logits
        torch.testing.assert_close(ours(tokens, fused), expected, atol=1e-4, rtol=1e-4)


def test_the_papers_size_is_the_papers():
    config = models.bert(TINY).config
    assert (config.is_decoder, config.add_cross_attention) == (True, True)
    size = PAPER.config.decoder
    assert (size.depth, size.dim, size.heads, PAPER.memory, PAPER.lengths[-1]) == (12, 768, 12, 294, 256)
    assert PAPER.config == build("paper")


def test_every_way_of_decoding_writes_the_same(theirs):
    ours, fused = models.decoder(TINY, theirs), models.memory(TINY, TINY.memory)
    written = models.write_ours(ours, fused, 16)
    assert len(written) == 16
    assert len(set(written)) > 2
    assert models.write_ours(ours, fused, 16, use_cache=False) == written
    assert models.write_theirs(theirs, fused, 16) == written


def test_the_releases_way_reads_everything_again_for_each_word(theirs):
    released, fused = models.masked(TINY, theirs), models.memory(TINY, TINY.joint)
    bert = theirs.state_dict()["bert.encoder.layer.1.attention.self.query.weight"]
    torch.testing.assert_close(released.base.bert.layers[1].attention.query.weight, bert)
    seen, whole = [], released.write
    released.write = lambda video, ids: seen.append((video.shape[1], ids[0].tolist())) or whole(video, ids)
    written = models.write_masked(released, fused, 5)
    assert [n for n, _ in seen] == [TINY.joint] * 5
    assert [ids for _, ids in seen] == [[models.BEGIN, *written[:i], models.MASK] for i in range(5)]


def test_counted_operations_are_those_that_are_run(theirs):
    """With PyTorch's plain attention; the counter does not know the fused one of the CPU."""
    ours, released = models.decoder(TINY, theirs), models.masked(TINY, theirs)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        models.write_ours(ours, models.memory(TINY, TINY.memory), 9, use_cache=False)
    assert counter.get_total_flops() == models.flops_uncached(TINY, 9)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        models.write_masked(released, models.memory(TINY, TINY.joint), 9)
    assert counter.get_total_flops() == models.flops_masked(TINY, 9)


def test_models_that_differ_are_not_timed(theirs, monkeypatch):
    changed = models.decoder(TINY, theirs)
    with torch.no_grad():
        changed.bias += 1
    monkeypatch.setattr(models, "decoder", lambda *_: changed)
    with pytest.raises(RuntimeError, match="different things"):
        parts.decoding(TINY, 1)


# ratios ---------------------------------------------------------------------------------------------------------------


def test_sides_take_turns():
    calls = []
    times = timing.paired({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert "".join(calls) == "ab" + "ba" + "ab"
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}
    assert all(second >= 0 for each in times.values() for second in each)


def test_ratios_of_made_up_times():
    row = timing.comparison("p", "w", "s", [1.0, 2.0, 4.0], [10.0, 30.0, 8.0], "s")
    assert (row.ours, row.other, row.ratio, row.low, row.high, row.repeats) == (2.0, 10.0, 10.0, 2.0, 15.0, 3)
    grown = timing.growth("p", "w", {"64": [1.0, 2.0], "128": [3.0, 4.0]})
    assert [(row.size, row.ours, row.other, row.ratio, row.low, row.high) for row in grown] == [
        ("64", 1.5, None, 1.0, 1.0, 1.0),
        ("128", 3.5, None, 2.5, 2.0, 3.0),
    ]
    row = timing.alone("p", "w", "s", [5.0, 1.0, 2.0], "MB")
    assert (row.ours, row.other, row.ratio, row.low, row.high) == (2.0, None, None, 1.0, 5.0)


def test_what_would_take_too_long_is_extrapolated_and_says_so():
    def measured(limit: float) -> list[timing.Row]:
        found = parts.decoding(TINY, 1, limit)
        return [row for row in found if row.what == "against the release's way, re-created"]

    assert [row.how for row in measured(1e9)] == ["measured"] * 2
    short, middle, long = measured(0.0)
    assert [row.size for row in (short, middle, long)] == [f"{length} tokens" for length in TINY.lengths]
    assert (short.how, middle.how) == ("measured", "measured")
    assert long.how == "extrapolated from 8 tokens by counted operations"
    factor = models.flops_masked(TINY, 16) / models.flops_masked(TINY, 8)
    assert long.other == pytest.approx(middle.other * factor)


# the command and its files --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What a quick run writes, without the part that starts many processes."""
    folder = tmp_path_factory.mktemp("quick") / "benchmarks"
    found = run.bench(["decoding", "rendering"], folder, quick=True, rounds=1)
    return folder, found


def test_a_quick_run_writes_every_row(quick):
    folder, found = quick
    read = shown.read(folder)
    assert read.quick
    assert tuple(found.columns) == shown.COLUMNS
    pd.testing.assert_frame_equal(read.table, found, check_dtype=False, rtol=1e-4)
    assert set(read.facts) == {"decoding", "rendering"}
    rows = set(zip(read.table["what"], read.table["size"], strict=True))
    theirs = {("against generate of transformers", f"{length} tokens") for length in TINY.lengths}
    slow = ("against itself without a cache", "against the release's way, re-created")
    others = {(what, f"{length} tokens") for what in slow for length in (TINY.lengths[0], TINY.lengths[-1])}
    assert rows == theirs | others | {("FormSim", f"{size} pixels") for size in TINY.pixels}
    facts = read.facts["decoding"]
    assert 0 < facts["share_of_a_core"] < 1.1
    assert {"device", "threads", "versions", "commit", "finished", "load_before", "share_of_a_core"} <= set(facts)


def test_the_loader_is_measured_at_every_size():
    rows = run.table(parts.feeding(TINY, 1))
    whats = ("loader", "flip and crop, on this CPU")
    assert list(zip(rows["what"], rows["size"], strict=True)) == [
        (what, f"{size} pixels") for size in TINY.pixels for what in whats
    ]
    assert (rows["ours"] > 0).all()


def test_growth_has_every_row():
    rows = run.table(parts.growing(TINY, 2))
    assert list(rows["what"].unique()) == [
        "decoding, by length",
        "video encoder, by frames",
        "pixels to 4 tokens, by clips in a batch",
        "pixels to 4 tokens, by clips one after another",
    ]
    assert list(rows["size"]) == [
        *(f"{n} tokens" for n in TINY.lengths),
        *(f"{n} frames" for n in TINY.frames),
        *(["1 clip", "2 clips"] * 2),
    ]
    assert (rows.groupby("what")["ratio"].first() == 1).all()


def test_memory_is_that_of_one_process_each(monkeypatch):
    peaks = {"ours": 100.0, "transformers": 150.0, "uncached": 120.0, "masked": 300.0, "pixels": 400.0}
    monkeypatch.setattr(parts, "megabytes", lambda kind, sizes, length: peaks[kind])
    rows = parts.memory(TINY, 5)
    assert [(row.other, row.ratio) for row in rows] == [(150.0, 1.5), (120.0, 1.2), (300.0, 3.0), (None, None)]
    assert {row.repeats for row in rows} == {3}
    assert rows[-1].ours == 400.0


@pytest.mark.slow
def test_the_command_measures_memory_apart(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--quick",
        "--only",
        "memory",
        "--rounds",
        "1",
        "--to",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    table = shown.read(tmp_path).table
    assert len(table) == 4
    assert table["ours"].between(50, 5000).all()


def test_one_part_leaves_the_others_rows(quick, monkeypatch):
    folder, before = quick
    row = timing.alone("rendering", "FormSim", "16 pixels", [1.0], "frames/s")
    facts = shown.read(folder).facts["rendering"]
    monkeypatch.setattr(run, "_apart", lambda *_: ([row], facts))
    kept = folder.parent / "kept"
    kept.mkdir()
    for name in (shown.TABLE, shown.FACTS):
        (kept / name).write_bytes((folder / name).read_bytes())
    after = run.bench(["rendering"], kept, quick=True)
    assert list(after[after["part"] == "rendering"]["ours"]) == [1.0]
    assert len(after[after["part"] == "decoding"]) == len(before[before["part"] == "decoding"])
    with pytest.raises(InputError, match="do not mix"):
        run.bench(["rendering"], kept, quick=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--only", "speed"], "no part 'speed'"), (["--threads", "0"], "at least 1"), (["--rounds", "-1"], "at least 0")],
)
def test_a_users_mistake_is_one_line(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.environ", dict(os.environ))
    assert main(["--quick", "--to", str(tmp_path / "new"), *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not (tmp_path / "new").exists()


# the page -------------------------------------------------------------------------------------------------------------

FACTS = {
    "device": "2 cores, <b>chip</b>",
    "threads": 1,
    "quick": False,
    "share_of_a_core": 0.99,
    "versions": {"torch": "2.9", "transformers": "5.1"},
    "commit": "abc",
    "finished": "2026-01-02T03:04:05+00:00",
}


def folder_with(tmp_path: Path, rows: list[timing.Row], **changes: object) -> Path:
    run.table(rows).to_csv(tmp_path / shown.TABLE, index=False)
    facts = {row.part: FACTS | changes for row in rows}
    (tmp_path / shown.FACTS).write_text(json.dumps(facts))
    return tmp_path


def rows_of_decoding(ratio: float) -> list[timing.Row]:
    what = "against the release's way, re-created"
    return [
        timing.comparison("decoding", what, "64 tokens", [1.0], [3.0], "s"),
        timing.comparison("decoding", what, "256 tokens", [2.0], [2.0 * ratio], "s"),
    ]


def test_the_page_says_whether_the_target_is_met(tmp_path):
    text = shown.decoding(folder_with(tmp_path, rows_of_decoding(21.0))).text
    assert "at least 20: met" in text
    assert text.count("at least 20") == 1  # of the longest text alone
    assert "PROVISIONAL" not in text
    assert "at least 20: missed" in shown.decoding(folder_with(tmp_path, rows_of_decoding(19.0))).text
    assert "at least" not in shown.decoding(folder_with(tmp_path, rows_of_decoding(19.0), quick=True)).text
    assert "say nothing" in shown.decoding(folder_with(tmp_path, rows_of_decoding(19.0), quick=True)).text


def test_a_busy_machine_is_said_to_be_one_and_text_is_escaped(tmp_path):
    found = shown.decoding(folder_with(tmp_path, rows_of_decoding(21.0), share_of_a_core=0.5))
    assert "PROVISIONAL: the machine was busy, the benchmark had 50 % of its core" in found.text
    memory = folder_with(
        tmp_path, [timing.alone("memory", "pixels to text", "2 tokens", [1.0], "MB")], share_of_a_core=None
    )
    assert "PROVISIONAL" not in shown.memory(memory).text
    assert "at least 20: not judged, busy machine" in found.text
    assert "&lt;b&gt;chip" in found.source
    assert "<b>chip" not in found.source


def test_parts_that_are_missing_are_said_to_be(tmp_path):
    assert "make bench" in shown.growth(tmp_path / "nowhere").text
    assert shown.lengths(tmp_path / "nowhere") is None
    assert "Not measured: growth" in shown.growth(folder_with(tmp_path, rows_of_decoding(21.0))).text
    assert shown.lengths(tmp_path) is not None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("what,", "why,", "the columns must be"),
        ("256 tokens,2.0", "256 tokens,fast", "row 3: ours must be a positive number"),
        ("256 tokens,2.0", "256 tokens,-2.0", "row 3: ours must be a positive number"),
    ],
)
def test_a_bad_table_is_named_with_its_row(tmp_path, old, new, said):
    path = folder_with(tmp_path, rows_of_decoding(21.0)) / shown.TABLE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said):
        shown.read(tmp_path)


def test_a_part_without_provenance_is_refused(tmp_path):
    (folder_with(tmp_path, rows_of_decoding(21.0)) / shown.FACTS).write_text("{}")
    with pytest.raises(InputError, match="no provenance"):
        shown.read(tmp_path)


def test_what_is_published_can_be_read_and_was_not_quick():
    found = shown.read(ROOT / "results" / "benchmarks")
    assert not found.quick
    assert set(found.table["part"]) == set(parts.PARTS)


def test_counted_tables_have_their_stamp():
    for measure, badge in (
        ("explained", "Counted"),
        ("stepped", "Counted"),
        ("estimated", "nothing run"),
        ("runs_estimated", "nothing run"),
    ):
        shown_here = shown.counted(measure)
        assert badge in shown_here.text
        assert f"efa_book/audit/budget.py, {measure}" in shown_here.text
