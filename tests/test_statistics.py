"""A data set's numbers: by hand, of damaged folders, by the command, and those of CoT-AFA where its files are there."""

import hashlib
import json
import shutil
from pathlib import Path

import manifests
import numpy as np
import pandas as pd
import pytest
from cot_afa_release import release
from hypothesis import given
from hypothesis import strategies as st

from efa.cli import app as cli
from efa.data.manifest import load_dataset, make_dataset
from efa.utils.errors import InputError
from efa_book import dataset_sources
from efa_datasets import statistics, wording
from efa_datasets.cot_afa import convert
from efa_datasets.cot_afa_files import SHEET
from efa_datasets.statistics import TABLES, measure, read_extras, value
from efa_datasets.wording import CUES, SENTENCES, WORDS, extrapolate, growth_curves, lexicon, sentences, tokens

ROOT = Path(__file__).resolve().parents[1]
WORD, SENTENCE = next(iter(WORDS)), next(iter(SENTENCES))


def test_six_clips_counted_by_hand():
    tables = measure(make_dataset(manifests.records(), manifests.STEPS))
    expected = {
        ("counts", "clips", ""): 6, ("counts", "actions", ""): 2, ("counts", "types", ""): 1,
        ("counts", "modes", ""): 1, ("counts", "actions, manual", ""): 2, ("counts", "clips, apparatus", ""): 0,
        ("counts", "clips, standard", ""): 4, ("counts", "clips, non-standard", ""): 2,
        ("counts", "clips, front view", ""): 6, ("counts", "clips, view not said", ""): 0,
        ("counts", "people", "named in the manifest"): 6, ("counts", "clips with a known fault", ""): 1,
        ("counts", "texts", "explanation not blank"): 6, ("counts", "texts", "of non-standard clips"): 2,
        ("texts", "words a text", WORD): 3,  # 'Fine, really 0.'
        ("texts", "vocabulary", WORD): 8, ("texts", "sentences a text", SENTENCE): 1,
        ("by group", "texts", "split train"): 2, ("steps of the actions", "texts", ""): 10,
        ("steps of the actions", "words a text", WORD): 3,
        ("instructions of the actions", "share of texts cut", "longer than 256 characters"): 0,
    }  # fmt: skip
    assert {key: value(tables, *key) for key in expected} == expected
    counts = {"actions": 2, "clips": 6, "standard": 4, "nonstandard": 2, "train": 2, "val": 2, "test": 2, "texts": 6}
    assert tables["types"].to_dict("records") == [{"mode": "manual", "type": "leg", **counts}]
    assert tables["actions"][["number", "clips"]].to_numpy().tolist() == [[0, 3], [1, 3]]
    assert tables["splits"]["of_told_actions"].tolist() == [2, 2, 2]
    assert {name: tuple(table.columns) for name, table in tables.items()} == {name: TABLES[name] for name in tables}
    assert value(tables, "counts", "no such number") is None


def test_without_a_text_there_is_nothing_about_texts():
    tables = measure(make_dataset([row | {"explanation": " "} for row in manifests.records()], manifests.STEPS))
    assert set(tables) == {"statistics", "types", "actions", "splits"}
    assert not (tables["statistics"]["about"] == "texts").any()
    assert value(tables, "counts", "texts", "explanation not blank") == 0


def test_word_pieces_are_counted_where_there_are_some():
    dataset = make_dataset(manifests.records(), manifests.STEPS)
    tables = measure(dataset, pieces=lambda text: "x" * (200 if text.startswith("Fine, really 0") else 100))
    for limit, share in ((128, 1 / 6), (256, 0)):
        found = value(tables, "texts", "share of texts cut", f"longer than {limit} word pieces")
        assert found == pytest.approx(share)


def test_a_release_is_counted_with_its_oddities(tmp_path: Path):
    root = release(tmp_path / "root")
    convert(root, tmp_path / "data", with_videos=False)
    tables = measure(load_dataset(tmp_path / "data", videos=False), read_extras(tmp_path / "data"))
    expected = {
        ("counts", "clips, non-standard"): 40, ("counts", "actions with a text", "in train"): 4,
        ("as released", "clips", "label 1"): 40, ("as released", "clips", "non-standard, with a reason"): 40,
        ("as released", "mean seconds", "clips with a length"): 1.5,
    }  # fmt: skip
    assert {key: value(tables, *key) for key in expected} == expected
    assert tables["oddities"]["times"].tolist() == sorted(tables["oddities"]["times"], reverse=True)
    assert {"spelling", "empty comment file"} <= set(tables["oddities"]["what"])


def run(*arguments: object) -> int:
    """Exit status of `efa`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["efa", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0)


def test_command_prints_json_and_writes_readable_tables(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    folder, to = manifests.write(tmp_path / "my data"), tmp_path / "results" / "mine"
    assert run("data", "statistics", folder, "--to", to, "--source", folder, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["value"] for row in said["statistics"] if row["quantity"] == "clips"] == [6]
    again = dataset_sources.read_tables(to)
    assert set(again) == {name for name, rows in said.items() if rows} == set(said) - {"lexicon"}  # no cue
    counted = measure(load_dataset(folder, videos=False), pieces=dataset_sources.word_piece_counter())
    for name, table in again.items():
        pd.testing.assert_frame_equal(table, counted[name], check_dtype=False, rtol=1e-5)
    known = dataset_sources.read_provenance(to)
    assert known["command"] == "efa data statistics 'my data' --to results/mine --source 'my data'"
    assert known["made from"]["manifest.csv"] == hashlib.sha256((folder / "manifest.csv").read_bytes()).hexdigest()
    shutil.rmtree(folder / "videos")  # they need not be there
    assert run("data", "statistics", folder) == 0
    assert "words a text" in capsys.readouterr().out


def test_writing_again_removes_old_tables_only(tmp_path: Path):
    to = tmp_path / "mine"
    dataset = make_dataset(manifests.records(), manifests.STEPS)
    dataset_sources.write_tables(measure(dataset), dataset, to)
    known = json.loads((to / "provenance.json").read_text())
    (to / "provenance.json").write_text(json.dumps(known | {"blind": {"command": "other"}}))
    (to / "paper.csv").write_text("table,number,value,source\n")
    silent = make_dataset([row | {"explanation": ""} for row in manifests.records()], manifests.STEPS)
    dataset_sources.write_tables(measure(silent), silent, to)
    tables = {f"{name}.csv" for name in ("actions", "splits", "statistics", "types")}
    assert {file.name for file in to.iterdir()} == {"paper.csv", "provenance.json", *tables}
    assert json.loads((to / "provenance.json").read_text())["blind"] == {"command": "other"}


@pytest.mark.parametrize(("damage", "message"), [
    (lambda f: (f / "steps.json").unlink(), "no such file"),
    (lambda f: (f / "manifest.csv").write_bytes(b"\xff\xfe"), "UTF-16"),
    (lambda f: (f / "released.csv").write_text("clip_id\n1\n"), "missing column label, reason, seconds"),
    (lambda f: (f / "released.csv").write_text(""), "cannot be read"),
    (lambda f: (f / "oddities.csv").write_bytes(b"what,done\n\xff,1\n"), "cannot be read"),
    (lambda f: (f / "released.csv").write_text("clip_id,label,reason,seconds\nc0,1,,long\n"), "row 2: seconds"),
])  # fmt: skip
def test_a_damaged_folder_is_one_line_and_status_2(tmp_path: Path, capsys, damage, message):
    folder = manifests.write(tmp_path / "data")
    damage(folder)
    assert_refused(capsys, message, folder)


def assert_refused(capsys, message: str, *words: object) -> None:
    assert run("data", "statistics", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("efa: ")
    assert message in error
    assert error.count("\n") == 1


def test_mistakes_with_to_and_source_are_one_line(tmp_path: Path, capsys):
    folder, out, empty, bad = manifests.write(tmp_path / "data"), *(tmp_path / name for name in ("out", "empty", "bad"))
    empty.mkdir()
    bad.mkdir()
    (tmp_path / "file").write_text("")
    (bad / "provenance.json").write_text("[]")
    cases = {
        ("--to", folder): "holds a data set", ("--source", folder): "give --to DIR",
        ("--to", out, "--source", empty): "holds no annotations", ("--to", bad): "not a JSON object",
        ("--to", out, "--source", tmp_path / "none"): "no such folder",
        ("--to", tmp_path / "file"): "cannot be written",
    }  # fmt: skip
    for options, message in cases.items():
        assert_refused(capsys, message, folder, *options)


@pytest.fixture(scope="module")
def true(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    if not (shared / "cot-afa" / SHEET).exists():
        pytest.skip("no CoT-AFA beside this checkout")
    folder = tmp_path_factory.mktemp("cot-afa")
    convert(shared / "cot-afa", folder, with_videos=False)
    return measure(load_dataset(folder, videos=False), read_extras(folder), dataset_sources.word_piece_counter())


def test_the_counts_are_the_papers(true):
    known = dataset_sources.read_paper_numbers(ROOT / "results" / "cot-afa" / "paper.csv")
    table_1 = known[(known["table"] == "I") & ~known["number"].isin(["frames", "texts"])]
    assert len(table_1) == 6
    for number, printed in zip(table_1["number"], table_1["value"], strict=True):
        assert value(true, "counts", number) == printed, number
    expected = {"actions, manual": 80, "clips, manual": 1949, "actions, apparatus": 61, "clips, apparatus": 1443}
    assert {name: value(true, "counts", name) for name in expected} == expected
    assert [value(true, "as released", "clips", f"label {label}") for label in (0, 1, 2)] == [2242, 1149, 1]
    assert value(true, "counts", "texts", "explanation not blank") == 1567
    assert true["splits"]["clips"].tolist() == [2373, 509, 510]
    assert len(true["types"]) == 28
    printed = known.set_index("number")["value"]
    for quantity, definition in (("words a text", WORD), ("sentences a text", SENTENCE)):
        assert value(true, "texts", quantity, definition) == pytest.approx(printed[quantity], rel=0.05)


def test_the_tokens_are_nearly_those_of_the_metrics(true, shared: Path):
    from efa.metrics.captions import tokenize
    from efa_datasets.cot_afa import read_release

    texts = [text for text in read_release(shared / "cot-afa").dataset.table["explanation"] if text]
    theirs = [[word for word in line.split() if word not in ("-lrb-", "-rrb-")] for line in tokenize(texts)]
    ours = value(true, "texts", "words a text", WORD)
    assert ours == pytest.approx(np.mean([len(words) for words in theirs]), rel=2e-4)
    vocabulary = len({word for words in theirs for word in words})
    assert value(true, "texts", "vocabulary", WORD) == pytest.approx(vocabulary, rel=5e-3)


def test_what_is_published_is_what_is_counted(true):
    published = dataset_sources.read_tables(ROOT / "results" / "cot-afa")
    assert set(published) == set(true) == set(statistics.TABLES)
    for name, table in true.items():
        pd.testing.assert_frame_equal(published[name], table, check_dtype=False, rtol=1e-5, obj=name)


@pytest.mark.parametrize("name", ["cot-afa", "ui-prmd"])
def test_published_files_are_those_of_their_provenance(name):
    folder = ROOT / "results" / name
    known = dataset_sources.read_provenance(folder)
    assert {"command", "made from", "versions", "finished", "manifest and steps"} <= set(known)
    hashes = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in known["files"]}
    assert known["files"] == hashes
    assert set(hashes) == {f"{table}.csv" for table in dataset_sources.read_tables(folder)}


def test_the_hashes_of_the_release_are_those_of_the_files_here(shared: Path):
    if not (shared / "cot-afa" / SHEET).exists():
        pytest.skip("no CoT-AFA beside this checkout")
    known = dataset_sources.read_provenance(ROOT / "results" / "cot-afa")["made from"]
    assert dataset_sources.hash_files(shared / "cot-afa") == known


PAPER = "table,number,value,source\nI,clips,"


@pytest.mark.parametrize(("name", "text", "message"), [
    ("paper.csv", "table,number,value\nI,clips,1\n", "missing column source"),
    ("paper.csv", PAPER + "many,x\n", "row 2: value cannot be 'many'"),
    ("paper.csv", PAPER + "1, \n", "row 2: source is empty"),
    ("paper.csv", PAPER + "1,x\nI,clips,2,x\n", "row 3: this number is given above already"),
    ("paper.csv", "", "cannot be read"), ("oddities.csv", "what,done\nx,y\n", "missing column times"),
    ("oddities.csv", "what,done,times\nx,y,inf\n", "row 2: times cannot be 'inf'"),
])  # fmt: skip
def test_a_bad_line_of_a_published_file_is_named(tmp_path: Path, name, text, message):
    (tmp_path / name).write_text(text)
    paper = name == "paper.csv"
    with pytest.raises(InputError, match=message):
        dataset_sources.read_paper_numbers(tmp_path / name) if paper else dataset_sources.read_tables(tmp_path)


HARD = [
    "The athlete's knees don't track over the toes, which can lead to injury (e.g. a sprain).",
    "He can't hold a shoulder-width stance; he cannot bend to 90 degrees, or 1.5 times as far!",
    "It’s 5-10 % too wide: they'd narrow it, I'm sure. Is it 1,000 kg?",
    'The back ("spine") rounds - so does the neck.',
    "",
]


def test_tokens_are_those_of_the_caption_metrics():
    from efa.metrics.captions import tokenize

    theirs = [[word for word in line.split() if word not in ("-lrb-", "-rrb-", "%")] for line in tokenize(HARD)]
    assert [tokens(text) for text in HARD] == theirs


def test_tokens_of_a_sentence_with_everything():
    assert " ".join(tokens("The knee's bent, isn't it? (90-degree)")) == "the knee 's bent is n't it 90-degree"
    assert tokens("Bad form.", punctuation=True) == ["bad", "form", "."]
    assert tokens("CAFÉ don’t") == ["café", "do", "n't"]


@pytest.mark.parametrize(("text", "count"), [
    ("One. Two! Three?", 3), ("About 1.5 times the width.", 1),
    ("Wide, e.g. at 1.5 m, i.e. too wide etc. and so on. Mend it.", 2), ("It holds etc. The knee bends.", 2),
    ("Mend it: 1. narrow the grip 2. brace the core. Then lift.", 2), ("The action is bad.The knee bends.", 2),
    ('He stops ("early."). Then he goes on...', 2), ("No end", 1), (" . ", 0), ("", 0),
])  # fmt: skip
def test_sentences_survive_decimals_abbreviations_and_lists(text, count):
    assert len(sentences(text)) == count


@given(st.text())
def test_splitters_take_any_text_and_lose_no_word(text):
    joined = [word for part in sentences(text) for word in part if word.isalnum()]
    assert joined == [char for char in text if char.isalnum()]
    assert all(part == part.strip() for part in sentences(text))
    for split in (*WORDS.values(), *SENTENCES.values()):
        assert all(split(text))


PLAIN = st.lists(st.sampled_from(["squat", "knee", "hip", "bends"]), min_size=1, max_size=8)


@given(st.lists(PLAIN, min_size=1, max_size=5))
def test_plain_words_count_the_same_by_every_definition(parts):
    text = " ".join(f"{' '.join(words).capitalize()} end." for words in parts)
    total = sum(len(words) + 1 for words in parts)
    assert len(tokens(text)) == len(text.split()) == total
    assert len(WORDS["runs of letters and digits, hyphens split"](text)) == total
    assert len(tokens(text, punctuation=True)) == total + len(parts)
    assert {len(split(text)) for split in SENTENCES.values()} == {len(parts)}


def test_cues_are_whole_words_the_longest_first():
    pattern = wording.cue_pattern(["lead* to", "lead* to injury", "since"])
    found = pattern.findall("leading to injury, sincere, leads  to pain since")
    assert found == ["leading to injury", "leads  to", "since"]
    assert all(set(lists["narrow"]) < set(lists["wide"]) for lists in CUES.values())


def test_cue_numbers_of_two_texts():
    texts = ["It is bad because it leads to pain. Because. To improve, she should stop.", "Good."]
    rates = {(what, measure, name): value for what, measure, name, value in wording.cue_rates(texts)}
    expected = {
        ("reasoning", "occurrences a text", "narrow"): 1.0,  # twice 'because' in two texts
        ("reasoning", "occurrences a text", "wide"): 1.5, ("reasoning", "sentences a text", "wide"): 1.0,
        ("reasoning", "share of texts", "wide"): 0.5, ("suggestion", "occurrences a text", "narrow"): 0.5,
        ("suggestion", "occurrences a text", "wide"): 1.0,
    }  # fmt: skip
    assert {key: rates[key] for key in expected} == expected
    table = wording.cue_table(texts).set_index(["what", "cue"])
    assert table.loc[("reasoning", "because"), ["texts", "occurrences"]].tolist() == [1, 2]
    assert table.loc[("reasoning", "lead* to"), "list"] == "wide"
    assert wording.cue_rates([]) == []


def test_lexicon_pairs_a_cue_with_what_follows_in_its_clause():
    texts = [
        "He should slowly focus on the grip, not the knee.",
        "She should focus on her grip.",
        "Bad, leading to pain.",
    ]
    found = lexicon(texts).set_index(["what", "parent", "word"])["texts"].to_dict()
    assert found == {
        ("reasoning", "lead* to", ""): 1, ("reasoning", "lead* to", "pain"): 1, ("suggestion", "focus", ""): 2,
        ("suggestion", "focus", "grip"): 2,
    }  # fmt: skip
    assert lexicon([]).empty
    assert lexicon(texts * 3, heads=1, words=0)["word"].tolist() == ["", ""]


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=12))
def test_a_growth_curve_rises_to_the_vocabulary(words):
    curves = growth_curves(words, orders=5)
    assert curves.shape == (5, len(words))
    assert (np.diff(curves, axis=1) >= 0).all()
    assert (curves[:, -1] == len({word for text in words for word in text})).all()
    assert set(curves[:, 0]) <= {len(set(text)) for text in words}
    assert np.array_equal(curves, growth_curves(words, orders=5))


def _zipf(count: int) -> list[list[int]]:
    draw = np.random.RandomState(0)
    return [list(draw.zipf(1.6, size=30) % 5000) for _ in range(count)]


def test_extrapolation_finds_the_held_out_vocabulary():
    everything = _zipf(1500)
    found = extrapolate(growth_curves(everything[:700], orders=50), 1500)
    truth = len({word for text in everything for word in text})
    assert found is not None
    assert found.low < found.words < found.high
    assert found.low <= truth <= found.high
    assert 0 < found.beta < 1


@pytest.mark.parametrize(("texts", "to"), [(99, 500), (120, 120), (0, 120)])  # too few, or to none
def test_nothing_is_extrapolated_from_few_texts_or_to_none(texts, to):
    assert extrapolate(growth_curves(_zipf(texts), 3), to) is None
