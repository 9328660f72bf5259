"""The tables about data: what the paper counts (Tables I to III) beside the counts of the annotations."""

from efa_book import html
from efa_book.dataset_sources import DEFINITIONS, Source, Sources, stamp
from efa_book.html import Cell, Html
from efa_book.paper import listed
from efa_datasets.statistics import CUT_CHARACTERS, VIEWS
from efa_datasets.wording import CUES, SENTENCES, WORDS

Rows = list[list[str | Cell]]
UNKNOWN = Cell("–", number=True)
NEAR = 0.05  # how far from the paper's number ours may lie
MAIN_WORDS, MAIN_SENTENCES = next(iter(WORDS)), next(iter(SENTENCES))  # the definitions of Table II
EVERY, HEAPS = "every text", "vocabulary if every clip had a text"

COUNTS = [  # quantity, which is the paper's name for it, too; its title where that differs
    ("clips", ""),
    ("modes", "workout modes"),
    ("types", "workout types"),
    *((f"actions{which}", "") for which in ("", ", manual", ", apparatus")),
    *((f"clips, {which}", "") for which in ("manual", "apparatus", "standard", "non-standard")),
    ("texts", "explanations"),
    *((f"clips, {which}", "") for which in (*(f"{view} view" for view in VIEWS), "view not said")),
    ("people", "people named"),
    ("clips with a known fault", "clips whose true fault is known"),
]


def counts(sources: Sources) -> Html:
    """Table I: what there is, the paper's count first."""
    rows: Rows = []
    for quantity, title in COUNTS:
        printed = sources.paper_number("I", quantity)
        first, *others = [source.number("counts", quantity, DEFINITIONS.get(quantity, "")) for source in sources.all]
        rows.append([title or quantity, _count(printed), _count(first, printed), *map(_count, others)])
    if (frames := sources.paper_number("I", "frames")) is not None:
        rows.append(["frames", _count(frames), *[_count(None)] * len(sources.all)])
    notes = ["A dash: the paper does not give this count, or ours needs the videos."]
    if sources.find("UI-PRMD"):
        notes.append("UI-PRMD: each repetition is rendered twice, from the front and from the side.")
    head = ["", "paper", *(source.name for source in sources.all)]
    notes += _paper_notes(sources, "I")
    return html.table("Table I: what each data set holds", head, rows, notes) + stamp(*sources.all)


def _count(number: float | None, printed: float | None = None) -> Cell:
    if number is None:
        return UNKNOWN
    verdict = "" if printed is None else "as in the paper" if number == printed else f"paper: {printed:,.0f}"
    return Cell(f"{number:,.0f}", verdict, number=True)


def _paper_notes(sources: Sources, table: str) -> list[str]:
    cited = list(sources.paper.loc[sources.paper["table"] == table, "source"])
    return [f"The paper's numbers, from: {listed(cited)}"] if cited else []


LENGTHS = {"words a text": MAIN_WORDS, "sentences a text": MAIN_SENTENCES, "vocabulary": MAIN_WORDS}


def texts(sources: Sources) -> Html:
    """Table II: words, sentences, vocabulary, reasons and advice a text; the paper's number first."""
    having = [source for source in sources.all if source.texts]
    if not having:
        return html.note("No data set here has an explanation.")

    def beside_paper(source: Source, printed: float | None) -> float | None:
        return printed if source is sources.about else None  # FormSim is not what the paper counted

    rows: Rows = [["texts", _count(sources.paper_number("I", "texts")), *(_count(source.texts) for source in having)]]
    for quantity, definition in LENGTHS.items():
        printed = sources.paper_number("II", quantity)
        found = [_value(s.number("texts", quantity, definition), beside_paper(s, printed)) for s in having]
        rows.append([Cell(quantity, definition), _value(printed), *found])
    printed = sources.paper_number("II", "vocabulary")
    found = [_heaps(source, beside_paper(source, printed)) for source in having]
    if any(cell.text != "–" for cell in found):
        rows.append([Cell(HEAPS, "Heaps' law, 95 % interval"), _value(printed), *found])
    titles = {"reasoning": "reasoning steps", "suggestion": "actionable suggestions"}
    for what, name in ((what, name) for what in CUES for name in ("narrow", "wide")):
        found = [_value(source.number(f"{what}, {EVERY}", "occurrences a text", name)) for source in having]
        rows.append([Cell(titles[what], f"cues of the {name} list"), _value(sources.paper_number("II", what)), *found])
    notes = ["Second line: how far from the paper's number."]
    near = near_paper(sources)
    for good, title in ((True, "Within"), (False, "Further than")):
        if names := [name for name, is_near in near.items() if is_near == good]:
            notes.append(f"{title} {NEAR:.0%} {'of' if good else 'from'} the paper: {', '.join(names)}.")
    if any(source.name == "FormSim" for source in having):
        notes.append("FormSim's sentences are put together from a list of phrases, hence its small vocabulary.")
    head = ["", "paper", *(source.name for source in having)]
    notes += _paper_notes(sources, "II")
    return html.table("Table II: the explanations", head, rows, notes) + stamp(*having)


def _value(number: float | None, printed: float | None = None) -> Cell:
    if number is None:
        return UNKNOWN
    off = f"{100 * (number / printed - 1):+.1f} %" if printed else ""
    whole = number >= 1000 or (number >= 10 and number == round(number))
    return Cell(f"{number:,.0f}" if whole else f"{number:.2f}", off, number=True)


def _heaps(source: Source, printed: float | None) -> Cell:
    """The extrapolated vocabulary with its interval, and where the paper's lies."""
    middle, low, high = (source.number(HEAPS, name, "Heaps' law") for name in ("words", "words, low", "words, high"))
    if middle is None or low is None or high is None:
        return UNKNOWN
    where = ""
    if printed is not None:
        side = "above it" if printed > high else "below it" if printed < low else "inside"
        where = f", the paper {side}"
    return Cell(f"{middle:,.0f}", f"{low:,.0f} to {high:,.0f}{where}", number=True)


def near_paper(sources: Sources) -> dict[str, bool]:
    """Whether words and sentences of the data set that the chapter is about lie within `NEAR` of the paper's numbers;
    without those that either lacks."""
    found = {}
    for quantity in ("words a text", "sentences a text"):
        number = sources.about.number("texts", quantity, LENGTHS[quantity])
        printed = sources.paper_number("II", quantity)
        if printed and number is not None:
            found[quantity] = abs(number / printed - 1) <= NEAR
    return found


def definitions(source: Source) -> Html:
    """How words, vocabulary and sentences depend on the way they are counted, and on which texts are."""
    table = source.table("statistics")
    part = table[table["about"] == "texts"]
    if part.empty:
        return html.note(f"{source.name} has no explanations.")
    names = ("words a text", "median words a text", "most words a text", "vocabulary")
    rows: Rows = [
        [definition, *(_value(source.number("texts", name, definition)) for name in names)]
        for definition in part.loc[part["quantity"] == names[0], "definition"].unique()
    ]
    head = ["a word is", "mean", "median", "most", "vocabulary"]
    words = html.table(f"{source.name}: words by definition", head, rows)
    rows = [[name, _value(source.number("texts", "sentences a text", name))] for name in SENTENCES]
    ends = html.table(f"{source.name}: sentences by definition", ["a sentence is", "mean"], rows)
    rows = []
    for name in table.loc[table["about"] == "by group", "definition"].unique():
        lengths = [_value(source.number("by group", what, name)) for what in ("words a text", "sentences a text")]
        rows.append([name, _count(source.number("by group", "texts", name)), *lengths])
    groups = html.table(f"{source.name}: whose texts", ["texts of", "texts", "words", "sentences"], rows)
    return words + ends + groups + stamp(source)


def cues(source: Source) -> Html:
    """Every word that may mark a reason or a suggestion, and what the lists come to."""
    table, total = source.table("cues"), source.texts
    if table.empty or not total:
        return html.note(f"{source.name} has no explanations.")
    measured = [(EVERY, name) for name in ("occurrences a text", "sentences a text", "share of texts")]
    measured.append(("non-standard clips", "sentences a text"))
    rows: Rows = []
    for what, name in ((what, name) for what in CUES for name in ("narrow", "wide")):
        part = table[(table["what"] == what) & ((table["list"] == "narrow") | (name == "wide"))]
        part = part.sort_values(["texts", "cue"], ascending=[False, True])
        shares = (f"{cue} {count / total:.1%}" for cue, count in zip(part["cue"], part["texts"], strict=True))
        numbers = [_value(source.number(f"{what}, {group}", quantity, name)) for group, quantity in measured]
        rows.append([f"{what}, {name}", ", ".join(shares), *numbers])
    head = ["list", "cue and share of texts that have it", "occurrences", "sentences", "share"]
    notes = ["A star stands for any ending. The wide list includes the narrow one. Means over texts."]
    title = f"{source.name}: cues of reasons and suggestions"
    return html.table(title, [*head, "sentences, non-standard"], rows, notes) + stamp(source)


def steps(source: Source) -> Html:
    """The written steps and instructions, and what is lost where they, or the explanations, are cut."""

    def share_cut(about: str, limit: str) -> Cell:
        return _share(source.number(about, "share of texts cut", f"longer than {limit}"))

    rows: Rows = []
    for name in ("steps", "instructions"):
        about = f"{name} of the actions"
        sizes = [_count(source.number(about, "texts")), _value(source.number(about, "words a text", MAIN_WORDS))]
        cut = [share_cut(about, f"{CUT_CHARACTERS} characters"), share_cut(about, "128 word pieces"), _share(None)]
        rows.append([name, *sizes, *cut])
    if source.texts:
        sizes = [_count(source.texts), _value(source.number("texts", "words a text", MAIN_WORDS))]
        cut = [_share(None), share_cut("texts", "128 word pieces"), share_cut("texts", "256 word pieces")]
        rows.append(["explanations", *sizes, *cut])
    head = ["", "texts", "words", f"over {CUT_CHARACTERS} characters", "over 128 pieces", "over 256 pieces"]
    notes = [
        f"The released code cuts every step and every instruction at {CUT_CHARACTERS} characters, counted here "
        "without the headings that it leaves on. Ours cuts no character: steps at 128 word pieces, explanations at 128 "
        "(preset laptop) or 256 (preset paper)."
    ]
    return html.table(f"{source.name}: what is longer than it may be", head, rows, notes) + stamp(source)


def _share(number: float | None) -> Cell:
    return Cell("–" if number is None else f"{100 * number:.1f} %", number=True)


def types(source: Source) -> Html:
    """Actions, clips, quality, splits and texts of every type."""
    columns = ["actions", "clips", "standard", "nonstandard", "train", "val", "test", "texts"]
    table = source.table("types")
    rows: Rows = [
        [kind or "not said", mode or "not said", *map(_count, numbers)]
        for kind, mode, *numbers in table[["type", "mode", *columns]].itertuples(index=False)
    ]
    rows.append(["all", "", *(_count(table[name].sum()) for name in columns)])
    head = ["type", "mode", *(name.replace("nonstandard", "non-standard") for name in columns)]
    return html.table(f"{source.name}: its {len(table)} types", head, rows) + stamp(source)


def datasets(sources: Sources) -> Html:
    """Table III: nine data sets as the paper compares them, then what is counted here."""
    part = sources.paper[sources.paper["table"] == "III"]
    if part.empty:
        return html.note("results/cot-afa/paper.csv says nothing about other data sets.")
    part = part.assign(name=part["number"].str.partition(": ")[0], what=part["number"].str.partition(": ")[2])
    rows: Rows = []
    for name, own in part.groupby("name", sort=False):
        of = own.set_index("what")["value"]
        yes = of.index[of.index.str.startswith("label ") & (of == 1)]
        labels = ", ".join(yes.str.extract(r"label (\w+)", expand=False))
        kind = "action recognition" if own["source"].str.contains("recognition").any() else "action quality"
        seconds = Cell(f"{of['seconds a clip']:.1f} s", number=True)
        rows.append([Cell(str(name), kind), _count(of["categories"]), seconds, _count(of["samples"]), labels])
    for source in sources.all:
        counted = [source.number("counts", name) for name in ("actions", "clips", "clips, view not said")]
        mean = source.number("as released", "mean seconds", "clips with a length")
        seen = f", M in {counted[1] - (counted[2] or 0):,.0f} clips" if counted[1] is not None else ""
        length = UNKNOWN if mean is None else Cell(f"{mean:.2f} s", "where it is given", number=True)
        first = Cell(source.name, "counted here")
        rows.append([first, _count(counted[0]), length, _count(counted[1]), f"Cla, SC{seen}"])
    head = ["Dataset", "Category", "Time", "Samples", "Labels"]
    meaning = "Cla: class; SC: standardization category, the verdict here; M: multiple viewpoints."
    notes = [meaning, f"The paper's numbers, from: {listed([min(part['source'], key=len)])}"]
    return html.table("Table III: data sets of actions and their quality", head, rows, notes) + stamp(*sources.all)


def splits(sources: Sources) -> Html:
    """Clips, verdicts and texts of each split, for every data set."""
    columns = ["clips", "nonstandard", "texts", "actions", "actions_with_text", "of_told_actions"]
    rows: Rows = []
    for source in sources.all:
        table = source.table("splits")[["split", *columns]]
        for split, clips, wrong, *numbers in table.itertuples(index=False):
            share = Cell(f"{wrong:,.0f}", f"{wrong / clips:.0%}" if clips else "", number=True)
            rows.append([source.name, split, _count(clips), share, *map(_count, numbers)])
    head = ["data set", "split", "clips", "non-standard", "texts", "actions", "actions with a text"]
    notes = ["Clips of explained actions: those whose action has an explanation in the training split."]
    return html.table("The splits", [*head, "clips of explained actions"], rows, notes) + stamp(*sources.all)


def oddities(source: Source) -> Html:
    """What is not as it should be in a release, how often, and what the conversion did about it."""
    table = source.table("oddities")
    if table.empty:
        return html.note(f"Nothing odd is known of {source.name}: it has no oddities.csv.")
    found = table[["what", "times", "done"]].itertuples(index=False)
    rows: Rows = [[what, _count(times), done] for what, times, done in found]
    return html.table(f"{source.name}: oddities", ["what", "times", "what was done"], rows) + stamp(source)


def released(sources: Sources) -> Html:
    """What else the release says of its clips: labels, reasons, lengths, and how the paper's frames fit the lengths."""
    source = sources.about
    table = source.table("statistics")
    part = table[table["about"] == "as released"]
    if part.empty:
        return html.note(f"{source.name} has no released.csv.")
    rows: Rows = [
        [f"{quantity}, {definition}", _value(number) if "mean" in quantity else _count(number)]
        for quantity, definition, number in part[["quantity", "definition", "value"]].itertuples(index=False)
    ]
    notes = []
    frames, clips = sources.paper_number("I", "frames"), sources.paper_number("I", "clips")
    seconds = source.number("as released", "mean seconds", "clips with a length")
    if frames and clips and seconds:
        notes = [
            f"The paper's {frames:,.0f} frames are {frames / clips:.1f} a clip. If the clips without a length were as "
            f"long as those with one, there would be {frames / clips / seconds:.0f} frames a second."
        ]
    return html.table(f"{source.name}: as released", ["", "number"], rows, notes) + stamp(source)
