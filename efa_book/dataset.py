"""The tables about data: what the paper counts (Tables I to III) beside what stands in the annotations."""

from __future__ import annotations

from collections.abc import Sequence

from efa_book import html
from efa_book.dataset_sources import Source, Sources, stamp
from efa_book.html import Cell, Html
from efa_book.paper import listed
from efa_datasets.statistics import CUT_CHARACTERS, VIEWS
from efa_datasets.wording import CUES, SENTENCES, WORDS

Rows = list[list[str | Cell]]
NEAR = 0.05  # how far from the paper's number ours may lie
PRINCIPAL, BY_RULE = next(iter(WORDS)), next(iter(SENTENCES))
EVERY, HEAPS = "every text", "vocabulary if every clip had a text"

# --- Table I ----------------------------------------------------------------------------------------------------------

COUNTS = (  # title, quantity, definition; the quantity is the paper's name for it, too
    ("clips", "clips", ""),
    ("workout modes", "modes", ""),
    ("workout types", "types", ""),
    ("actions", "actions", ""),
    ("actions, manual", "actions, manual", ""),
    ("actions, apparatus", "actions, apparatus", ""),
    ("clips, manual", "clips, manual", ""),
    ("clips, apparatus", "clips, apparatus", ""),
    ("clips, standard", "clips, standard", ""),
    ("clips, non-standard", "clips, non-standard", ""),
    ("explanations", "texts", "explanation not blank"),
    *((f"clips, {view} view", f"clips, {view} view", "") for view in VIEWS),
    ("clips, view not said", "clips, view not said", ""),
    ("people named", "people", "named in the manifest"),
    ("clips whose true fault is known", "clips with a known fault", ""),
)


def counts(sources: Sources) -> Html:
    """Table I: what there is, the paper's count first."""
    rows: Rows = []
    for title, quantity, definition in COUNTS:
        printed = sources.printed("I", quantity)
        found = [source.number("counts", quantity, definition) for source in sources.all]
        cells = [_count(found[0], printed), *(_count(number) for number in found[1:])]
        rows.append([title, _count(printed), *cells])
    if (frames := sources.printed("I", "frames")) is not None:
        rows.append(["frames", _count(frames), *[_count(None)] * len(sources.all)])
    head = ["", "paper", *(source.name for source in sources.all)]
    notes = [
        "n/a: the paper's count was not to be had, or ours needs the videos.",
        *(
            ["UI-PRMD: each repetition is rendered twice, from the front and from the side."]
            if sources.named("UI-PRMD")
            else []
        ),
        *_paper_notes(sources, "I"),
    ]
    return html.table("Table I: what each data set holds", head, rows, notes) + stamp(*sources.all)


def _count(number: float | None, printed: float | None = None) -> Cell:
    if number is None:
        return Cell("n/a", number=True)
    verdict = "" if printed is None else "as in the paper" if number == printed else f"paper: {printed:,.0f}"
    return Cell(f"{number:,.0f}", verdict, number=True)


def _paper_notes(sources: Sources, table: str) -> list[str]:
    said = sources.paper.loc[sources.paper["table"] == table, "source"]
    return [f"The paper's numbers, from: {listed(list(said))}"] if len(said) else []


# --- Table II ---------------------------------------------------------------------------------------------------------

LENGTHS = (
    ("words a text", "texts", PRINCIPAL),
    ("sentences a text", "texts", BY_RULE),
    ("vocabulary", "texts", PRINCIPAL),
)


def texts(sources: Sources) -> Html:
    """Table II: words, sentences, vocabulary, reasons and advice a text; the paper's number first."""
    told = [source for source in sources.all if source.number("counts", "texts", "explanation not blank")]
    if not told:
        return html.note("No data set here has an explanation.")
    rows: Rows = [
        [
            "texts",
            _count(sources.printed("I", "texts")),
            *(_count(s.number("counts", "texts", "explanation not blank")) for s in told),
        ]
    ]
    for quantity, about, definition in LENGTHS:
        printed = sources.printed("II", quantity)
        found = [source.number(about, quantity, definition) for source in told]
        rows.append([Cell(quantity, definition), _value(printed), *_beside(found, printed, told, sources)])
    printed = sources.printed("II", "vocabulary")
    ends = [
        [source.number(HEAPS, name, "Heaps' law") for name in ("words", "words, low", "words, high")] for source in told
    ]
    if any(None not in end for end in ends):
        cells = [
            _interval(end, printed if source is sources.about else None) for end, source in zip(ends, told, strict=True)
        ]
        rows.append([Cell("vocabulary, every clip told", "Heaps' law, 95 % interval"), _value(printed), *cells])
    for what in CUES:
        for name in ("narrow", "wide"):
            printed = sources.printed("II", what)
            found = [source.number(f"{what}, {EVERY}", "occurrences a text", name) for source in told]
            title = "reasoning steps" if what == "reasoning" else "suggestions"
            cells = [_value(one) for one in found]
            rows.append([Cell(title, f"cues of the {name} list"), _value(printed), *cells])
    notes = ["Second line: how far from the paper's number."]
    if near := within(sources):
        there = [name for name, good in near.items() if good]
        away = [name for name, good in near.items() if not good]
        notes += [f"Within {NEAR:.0%} of the paper: {', '.join(there)}."] if there else []
        notes += [f"Further than {NEAR:.0%} from the paper: {', '.join(away)}."] if away else []
    if any(source.name == "FormSim" for source in told):
        notes.append("FormSim's sentences are put together from a list of phrases, hence its small vocabulary.")
    head = ["", "paper", *(source.name for source in told)]
    table = html.table("Table II: the explanations", head, rows, [*notes, *_paper_notes(sources, "II")])
    return table + stamp(*told)


def _beside(
    found: Sequence[float | None], printed: float | None, told: Sequence[Source], sources: Sources
) -> list[Cell]:
    return [_value(one, printed if source is sources.about else None) for one, source in zip(found, told, strict=True)]


def _value(number: float | None, printed: float | None = None) -> Cell:
    if number is None:
        return Cell("n/a", number=True)
    off = f"{100 * (number / printed - 1):+.1f} %" if printed else ""
    whole = number >= 1000 or (number >= 10 and number == round(number))
    return Cell(f"{number:,.0f}" if whole else f"{number:.2f}", off, number=True)


def _interval(ends: Sequence[float | None], printed: float | None) -> Cell:
    middle, low, high = ends
    if middle is None or low is None or high is None:
        return Cell("–", number=True)
    where = (
        ""
        if printed is None
        else ", the paper above it"
        if printed > high
        else ", the paper below it"
        if printed < low
        else ", the paper inside"
    )
    return Cell(f"{middle:,.0f}", f"{low:,.0f} to {high:,.0f}{where}", number=True)


def within(sources: Sources) -> dict[str, bool]:
    """Whether words and sentences of the data set that the chapter is about lie within `NEAR` of the paper's numbers;
    without those that either lacks."""
    found = {}
    for quantity, about, definition in LENGTHS[:2]:
        printed, number = sources.printed("II", quantity), sources.about.number(about, quantity, definition)
        if printed and number is not None:
            found[quantity] = abs(number / printed - 1) <= NEAR
    return found


def definitions(source: Source) -> Html:
    """How words, vocabulary and sentences depend on the way they are counted, and on which texts are."""
    table = source.table("statistics")
    part = table[table["about"] == "texts"]
    if part.empty:
        return html.note(f"{source.name} has no explanations.")
    rows: Rows = []
    for definition in dict.fromkeys(part.loc[part["quantity"] == "words a text", "definition"]):
        names = ("words a text", "median words a text", "most words a text", "vocabulary")
        rows.append([definition, *(_value(source.number("texts", name, definition)) for name in names)])
    head = ["a word is", "mean", "median", "most", "vocabulary"]
    words = html.table(f"{source.name}: words by definition", head, rows)
    rows = [[name, _value(source.number("texts", "sentences a text", name))] for name in SENTENCES]
    ends = html.table(f"{source.name}: sentences by definition", ["a sentence is", "mean"], rows)
    groups = table[table["about"] == "by group"]["definition"].unique()
    rows = [
        [
            name,
            _count(source.number("by group", "texts", name)),
            *(_value(source.number("by group", what, name)) for what in ("words a text", "sentences a text")),
        ]
        for name in groups
    ]
    whose = html.table(f"{source.name}: whose texts", ["texts of", "texts", "words", "sentences"], rows)
    return words + ends + whose + stamp(source)


def cues(source: Source) -> Html:
    """Every word that may mark a reason or a suggestion, and what the lists come to."""
    found = source.table("cues")
    total = source.number("counts", "texts", "explanation not blank")
    if found.empty or not total:
        return html.note(f"{source.name} has no explanations.")
    rows: Rows = []
    for what in CUES:
        for name in ("narrow", "wide"):
            part = found[(found["what"] == what) & ((found["list"] == "narrow") | (name == "wide"))]
            part = part.sort_values(["texts", "cue"], ascending=[False, True])
            words = ", ".join(
                f"{cue} {texts / total:.1%}" for cue, texts in zip(part["cue"], part["texts"], strict=True)
            )
            numbers = [
                _value(source.number(f"{what}, {group}", measured, name))
                for group, measured in (
                    (EVERY, "occurrences a text"),
                    (EVERY, "sentences a text"),
                    (EVERY, "share of texts"),
                    ("non-standard clips", "sentences a text"),
                )
            ]
            rows.append([f"{what}, {name}", words, *numbers])
    head = [
        "list",
        "cue and share of texts that have it",
        "occurrences",
        "sentences",
        "share",
        "sentences, non-standard",
    ]
    notes = ["A star stands for any ending. The wide list holds the narrow one. Means over texts."]
    return html.table(f"{source.name}: cues of reasons and suggestions", head, rows, notes) + stamp(source)


def steps(source: Source) -> Html:
    """The written steps and instructions, and what is lost where they, or the explanations, are cut."""
    rows: Rows = []
    for name in ("steps", "instructions"):
        about = f"{name} of the actions"
        cut = [
            source.number(about, "share of texts cut", f"longer than {limit}")
            for limit in (f"{CUT_CHARACTERS} characters", "128 word pieces")
        ]
        rows.append(
            [
                name,
                _count(source.number(about, "texts")),
                _value(source.number(about, "words a text", PRINCIPAL)),
                *map(_share, cut),
                _share(None),
            ]
        )
    cut = [source.number("texts", "share of texts cut", f"longer than {limit} word pieces") for limit in (128, 256)]
    told = source.number("counts", "texts", "explanation not blank")
    if told:
        words = source.number("texts", "words a text", PRINCIPAL)
        rows.append(["explanations", _count(told), _value(words), _share(None), *map(_share, cut)])
    head = ["", "texts", "words", f"over {CUT_CHARACTERS} characters", "over 128 pieces", "over 256 pieces"]
    notes = [
        f"The released code cuts every step and every instruction at {CUT_CHARACTERS} characters, counted here "
        "without the headings that it leaves on. Ours cuts no character: steps at 128 word pieces, explanations at 128 "
        "(preset laptop) or 256 (preset paper)."
    ]
    return html.table(f"{source.name}: what is longer than it may be", head, rows, notes) + stamp(source)


def _share(number: float | None) -> Cell:
    return Cell("–" if number is None else f"{100 * number:.1f} %", number=True)


# --- Table III, splits, oddities --------------------------------------------------------------------------------------


def types(source: Source) -> Html:
    """Table III: actions, clips, quality, splits and texts of every type."""
    columns = ("actions", "clips", "standard", "nonstandard", "train", "val", "test", "texts")
    found = source.table("types")
    rows: Rows = [
        [
            str(row["type"]) or "not said",
            str(row["mode"]) or "not said",
            *(_count(float(row[name])) for name in columns),
        ]
        for _, row in found.iterrows()
    ]
    rows.append(["all", "", *(_count(float(found[name].sum())) for name in columns)])
    head = ["type", "mode", *("non-standard" if name == "nonstandard" else name for name in columns)]
    return html.table(f"{source.name}: its {len(found)} types", head, rows) + stamp(source)


def splits(sources: Sources) -> Html:
    """Clips, verdicts and texts of each split, for every data set."""
    rows: Rows = []
    for source in sources.all:
        for _, row in source.table("splits").iterrows():
            share = f"{row['nonstandard'] / row['clips']:.0%}" if row["clips"] else ""
            rows.append(
                [
                    source.name,
                    str(row["split"]),
                    _count(float(row["clips"])),
                    Cell(f"{row['nonstandard']:,.0f}", share, number=True),
                    *(
                        _count(float(row[name]))
                        for name in ("texts", "actions", "actions_with_text", "of_told_actions")
                    ),
                ]
            )
    counted = ["clips", "non-standard", "texts", "actions", "actions with a text", "clips of told actions"]
    notes = ["Clips of told actions: those whose action has an explanation in the training split."]
    return html.table("The splits", ["data set", "split", *counted], rows, notes) + stamp(*sources.all)


def oddities(source: Source) -> Html:
    """What is not as it should be in a release, how often, and what the conversion did about it."""
    found = source.table("oddities")
    if found.empty:
        return html.note(f"Nothing odd is known of {source.name}: it has no oddities.csv.")
    rows: Rows = [[str(row["what"]), _count(float(row["times"])), str(row["done"])] for _, row in found.iterrows()]
    return html.table(f"{source.name}: oddities", ["what", "times", "what was done"], rows) + stamp(source)


def released(sources: Sources) -> Html:
    """What else the release says of its clips: labels, reasons, lengths, and how the paper's frames fit the lengths."""
    source = sources.about
    table = source.table("statistics")
    part = table[table["about"] == "as released"]
    if part.empty:
        return html.note(f"{source.name} has no released.csv.")
    rows: Rows = []
    for _, row in part.iterrows():
        number = float(row["value"])
        shown = _value(number) if "mean" in str(row["quantity"]) else _count(number)
        rows.append([f"{row['quantity']}, {row['definition']}", shown])
    notes = []
    frames, clips = sources.printed("I", "frames"), sources.printed("I", "clips")
    seconds = source.number("as released", "mean seconds", "clips with a length")
    if frames and clips and seconds:
        notes = [
            f"The paper's {frames:,.0f} frames are {frames / clips:.1f} a clip. If the clips without a length were as "
            f"long as those with one, there would be {frames / clips / seconds:.0f} frames a second."
        ]
    return html.table(f"{source.name}: as released", ["", "number"], rows, notes) + stamp(source)
