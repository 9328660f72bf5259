"""Speed: the benchmark measures what it should, and its page shows that."""

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
from benchmarks.models import PAPER, TINY
from efa.config import build
from efa.utils.errors import InputError
from efa_book import benchmarks as book

ROOT = Path(__file__).resolve().parents[1]
SLOW = ("against itself without a cache", "against the release's way, re-created")


# models ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs():
    return models.bert(TINY, deviation=0.4)  # large weights, so that texts are no repetition of one word


def test_equal_models_give_equal_logits(theirs):
    ours, fused = models.decoder(TINY, theirs), models.video_tokens(TINY, TINY.memory)
    tokens = torch.randint(0, TINY.vocabulary, (1, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = theirs(input_ids=tokens, encoder_hidden_states=fused).logits
        torch.testing.assert_close(ours(tokens, fused), expected, atol=1e-4, rtol=1e-4)


def test_paper_size():
    config = models.bert(TINY).config
    assert (config.is_decoder, config.add_cross_attention) == (True, True)
    size = PAPER.config.decoder
    assert (size.depth, size.dim, size.heads, PAPER.memory, PAPER.lengths[-1]) == (12, 768, 12, 294, 256)
    assert PAPER.config == build("paper")


def test_all_ways_of_decoding_write_the_same(theirs):
    ours, fused = models.decoder(TINY, theirs), models.video_tokens(TINY, TINY.memory)
    written = models.write_ours(ours, fused, 16)
    assert len(written) == 16
    assert len(set(written)) > 2
    assert models.write_uncached(ours, fused, 16) == written
    assert models.write_theirs(theirs, fused, 16) == written


def test_release_reads_everything_again_for_each_word(theirs):
    released, fused = models.masked(TINY, theirs), models.video_tokens(TINY, TINY.joint)
    bert = theirs.state_dict()["bert.encoder.layer.1.attention.self.query.weight"]
    torch.testing.assert_close(released.base.bert.layers[1].attention.query.weight, bert)
    seen, whole = [], released.write
    released.write = lambda video, ids: seen.append((video.shape[1], ids[0].tolist())) or whole(video, ids)
    written = models.write_masked(released, fused, 5)
    assert [n for n, _ in seen] == [TINY.joint] * 5
    assert [ids for _, ids in seen] == [[models.BEGIN, *written[:i], models.MASK] for i in range(5)]


def test_counted_operations_are_those_executed(theirs):
    """With PyTorch's plain attention; the counter does not know the fused one of the CPU."""
    ours, released = models.decoder(TINY, theirs), models.masked(TINY, theirs)

    def executed(write, *arguments, **options) -> int:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            write(*arguments, **options)
        return counter.get_total_flops()

    fused, joint = models.video_tokens(TINY, TINY.memory), models.video_tokens(TINY, TINY.joint)
    assert executed(models.write_uncached, ours, fused, 9) == models.flops_uncached(TINY, 9)
    assert executed(models.write_masked, released, joint, 9) == models.flops_masked(TINY, 9)


def test_different_models_are_not_timed(theirs, monkeypatch):
    changed = models.decoder(TINY, theirs)
    with torch.no_grad():
        changed.bias += 1
    monkeypatch.setattr(models, "decoder", lambda *_: changed)
    with pytest.raises(RuntimeError, match="different logits"):
        parts.decoding(TINY, 1)


# ratios ---------------------------------------------------------------------------------------------------------------


def test_sides_take_turns():
    calls = []
    times = timing.paired({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert "".join(calls) == "ab" + "ba" + "ab"
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}
    assert all(second >= 0 for each in times.values() for second in each)


def test_rows_from_times():
    row = timing.row("p", "w", "s", [1.0, 2.0, 4.0], "s", [10.0, 30.0, 8.0])
    assert row == timing.Row("p", "w", "s", 2.0, 10.0, 10.0, "s", 3, 2.0, 15.0)
    assert timing.growth("p", "w", {"64": [1.0, 2.0], "128": [3.0, 4.0]}) == [
        timing.Row("p", "w", "64", 1.5, None, 1.0, "s", 2, 1.0, 1.0),
        timing.Row("p", "w", "128", 3.5, None, 2.5, "s", 2, 2.0, 3.0),
    ]
    row = timing.row("p", "w", "s", [5.0, 1.0, 2.0], "MB")
    assert row == timing.Row("p", "w", "s", 2.0, None, None, "MB", 3, 1.0, 5.0)


def test_slow_runs_are_extrapolated():
    def decoding(limit: float) -> list[timing.Row]:
        return [row for row in parts.decoding(TINY, 1, limit) if row.what == SLOW[1]]

    assert [row.how for row in decoding(1e9)] == ["measured"] * 2
    short, middle, long = decoding(0.0)
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


def test_quick_run_writes_every_row(quick):
    folder, found = quick
    read = book.read_benchmarks(folder)
    assert read.quick
    assert tuple(found.columns) == book.COLUMNS
    pd.testing.assert_frame_equal(read.table, found, check_dtype=False, rtol=1e-4)
    assert set(read.facts) == {"decoding", "rendering"}
    lengths = dict.fromkeys(SLOW, (TINY.lengths[0], TINY.lengths[-1]))
    lengths["against generate of transformers"] = TINY.lengths
    expected = {(what, f"{length} tokens") for what, each in lengths.items() for length in each}
    expected |= {("FormSim", f"{size} pixels") for size in TINY.pixels}
    assert set(zip(read.table["what"], read.table["size"], strict=True)) == expected
    facts = read.facts["decoding"]
    assert 0 < facts["share_of_a_core"] < 1.1
    assert {"device", "threads", "versions", "commit", "finished", "load_before"} <= set(facts)


def test_loader_is_measured_at_every_size():
    rows = run.table(parts.feeding(TINY, 1))
    expected = [(w, f"{s} pixels") for s in TINY.pixels for w in ("loader", "flip and crop, on this CPU")]
    assert list(zip(rows["what"], rows["size"], strict=True)) == expected
    assert (rows["ours"] > 0).all()


def test_growth_has_every_row():
    rows = run.table(parts.growing(TINY, 2))
    sizes = {
        "decoding, by length": [f"{n} tokens" for n in TINY.lengths],
        "video encoder, by frames": [f"{n} frames" for n in TINY.frames],
        "pixels to 4 tokens, by clips in a batch": ["1 clip", "2 clips"],
        "pixels to 4 tokens, by clips one after another": ["1 clip", "2 clips"],
    }
    assert {what: list(part["size"]) for what, part in rows.groupby("what", sort=False)} == sizes
    assert (rows.groupby("what")["ratio"].first() == 1).all()


def test_memory_has_one_process_for_each_figure(monkeypatch):
    peaks = {"ours": 100.0, "transformers": 150.0, "uncached": 120.0, "masked": 300.0, "pixels": 400.0}
    monkeypatch.setattr(parts, "megabytes", lambda kind, sizes, length: peaks[kind])
    rows = parts.memory(TINY, 5)
    assert [(row.other, row.ratio) for row in rows] == [(150.0, 1.5), (120.0, 1.2), (300.0, 3.0), (None, None)]
    assert {row.repeats for row in rows} == {3}
    assert rows[-1].ours == 400.0


@pytest.mark.slow
def test_command_measures_memory_in_processes(tmp_path):
    words = f"-m benchmarks --quick --only memory --rounds 1 --to {tmp_path}".split()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    table = book.read_benchmarks(tmp_path).table
    assert len(table) == 4
    assert table["ours"].between(50, 5000).all()


def test_rerun_of_one_part_keeps_the_others(quick, monkeypatch, tmp_path):
    folder, before = quick
    row = timing.row("rendering", "FormSim", "16 pixels", [1.0], "frames/s")
    facts = book.read_benchmarks(folder).facts["rendering"]
    monkeypatch.setattr(run, "run_part", lambda *_: ([row], facts))
    for name in (book.TABLE, book.FACTS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    after = run.bench(["rendering"], tmp_path, quick=True)
    assert list(after[after["part"] == "rendering"]["ours"]) == [1.0]
    assert (after["part"] == "decoding").sum() == (before["part"] == "decoding").sum()
    with pytest.raises(InputError, match="do not mix"):
        run.bench(["rendering"], tmp_path, quick=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--only", "speed"], "no part 'speed'"), (["--threads", "0"], "at least 1"), (["--rounds", "-1"], "at least 0")],
)
def test_user_mistake_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.environ", dict(os.environ))
    assert run.main(["--quick", "--to", str(tmp_path / "new"), *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
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


def write_folder(to: Path, rows: list[timing.Row], **changes: object) -> Path:
    run.table(rows).to_csv(to / book.TABLE, index=False)
    (to / book.FACTS).write_text(json.dumps({row.part: FACTS | changes for row in rows}))
    return to


def write_decoding(to: Path, ratio: float = 21.0, **changes: object) -> Path:
    rows = [
        timing.row("decoding", SLOW[1], "64 tokens", [1.0], "s", [3.0]),
        timing.row("decoding", SLOW[1], "256 tokens", [2.0], "s", [2.0 * ratio]),
    ]
    return write_folder(to, rows, **changes)


def test_page_says_whether_the_target_is_met(tmp_path):
    text = book.measured("decoding", write_decoding(tmp_path)).text
    assert "at least 20: met" in text
    assert text.count("at least 20") == 1  # of the longest text alone
    assert "PROVISIONAL" not in text
    assert "at least 20: missed" in book.measured("decoding", write_decoding(tmp_path, 19.0)).text
    quick = book.measured("decoding", write_decoding(tmp_path, quick=True)).text
    assert "at least" not in quick
    assert "say nothing" in quick


def test_busy_machine_is_reported_and_text_escaped(tmp_path):
    found = book.measured("decoding", write_decoding(tmp_path, share_of_a_core=0.5))
    assert "PROVISIONAL: the machine was busy, the benchmark had 50 % of its core" in found.text
    assert "at least 20: not judged, busy machine" in found.text
    assert "&lt;b&gt;chip" in found.source
    assert "<b>chip" not in found.source
    rows = [timing.row("memory", "pixels to text", "2 tokens", [1.0], "MB")]
    assert "PROVISIONAL" not in book.measured("memory", write_folder(tmp_path, rows, share_of_a_core=None)).text


def test_missing_parts_are_named(tmp_path):
    assert "make bench" in book.measured("growth", tmp_path / "nowhere").text
    assert book.length_figure(tmp_path / "nowhere") is None
    assert "Not measured: growth" in book.measured("growth", write_decoding(tmp_path)).text
    assert book.length_figure(tmp_path) is not None


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (book.TABLE, "what,", "why,", "the columns must be"),
        (book.TABLE, "256 tokens,2.0", "256 tokens,fast", "row 3: ours must be a positive number"),
        (book.TABLE, "256 tokens,2.0", "256 tokens,-2.0", "row 3: ours must be a positive number"),
        (book.FACTS, '"decoding"', '"growth"', "no provenance"),
    ],
)
def test_bad_file_is_named_with_its_row(tmp_path, file, old, new, message):
    path = write_decoding(tmp_path) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        book.read_benchmarks(tmp_path)


def test_published_benchmarks_are_complete():
    found = book.read_benchmarks(ROOT / "results" / "benchmarks")
    assert not found.quick
    assert set(found.table["part"]) == set(parts.PARTS) == set(book.PARTS)
