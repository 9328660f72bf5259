"""The verdict on form that a text states."""

import re

from formsim.faults import sentences

OPENING_SENTENCES = 2  # where a text states its verdict; further down, words such as 'correct' belong to the advice

_GOOD = (
    "good|correct|standard|proper|right|sound|clean|acceptable|adequate|satisfactory|excellent|great|fine|ok|okay|textbook|"
    "solid|perfect|flawless|faultless|accurate|valid"
)
_BAD = (
    "bad|poor|incorrect|wrong|improper|faulty|flawed|unacceptable|inadequate|unsatisfactory|inaccurate|unsound|invalid|"
    "non ?standard|sub ?standard|suboptimal|defective|sloppy"
)
_GOODLY = "correctly|properly|well|cleanly|soundly|accurately|perfectly|flawlessly|acceptably|adequately"
_BADLY = "incorrectly|improperly|poorly|badly|wrongly|inaccurately|sloppily|inadequately"
_NOUN = (
    "form|technique|execution|posture|standards?|shape|order|manner|way|repetition|rep|example|performance|attempt|one"
)
_IS = (
    "(?:is|are|was|were|be|been|looks?|seems?|appears?|remains?|counts?|"
    "classified|rated|judged|labell?ed|considered|deemed|assessed|marked|scored|called)"
)
_DO = "(?:perform(?:ed|s)?|execut(?:ed|es)|done|does|carried out|carries out|completed?s?|shown|demonstrated|made)"
_FILL = (
    "(?:(?:not|no longer|never|nothing|neither|hardly|barely|far from|anything but|at all|as|to be|be|being|in|of|with|"
    "a|an|the|very|quite|mostly|overall|generally|clearly|really|entirely|fully|completely|wholly|totally|altogether|always|"
    "rather|somewhat|this|performed|executed|done|carried out) ){0,5}"
)
# what an adjective may belong to instead of a verdict: 'is a good morning', 'is a standard push up'
_MOVES = "morning|squat|push|pull|press|row|curl|lunge|jump|arm|leg|hand|foot|side|knee|elbow|hip|shoulder"
_VERB = r"(?:meet|match|follow|fulfil|satisf|reach|respect)(?:y|s|es|ies|ing|ls|ed)?"
_REPAIR = "(?:correct(?:ion|ed|ing)|work|improv(?:ement|ed)|mending|fixing)"

_VERDICTS: tuple[tuple[str, int], ...] = (
    # (phrase, verdict that it states when no negation governs it); the leftmost phrase wins, the upper one among those
    (r"\bnon ?standard\b|\bsub ?standard\b|\b(?:below|off) (?:the )?standards?\b", 1),
    (r"\b(?:falls?|falling) short of\b|\b(?:deviat|depart)(?:es?|s|ing|ed) from\b|\bviolat(?:es|ing|ed)\b", 1),
    (rf"\b(?:needs?|requires?|calls? for|should be|must be|has to be) (?:some |a )?{_REPAIR}\b", 1),
    (rf"\b{_VERB} (?:all )?(?:of )?the (?:required )?(?:standards?|steps)\b", 0),
    (r"\b(?:up|according|conform(?:s|ing)?|adher(?:es|ing)|true|done) to (?:the )?standards?\b", 0),
    (r"\bas (?:it should be|instructed|required|described)\b", 0),
    (rf"\b{_DO} (?:\w+ ){{0,6}}(?:{_BADLY})\b|\b(?:{_BADLY}) {_DO}\b", 1),
    (rf"\b{_DO} (?:\w+ ){{0,6}}(?:{_GOODLY})\b|\b(?:{_GOODLY}) {_DO}\b", 0),
    (rf"\b(?:{_BAD}) (?:{_NOUN})\b", 1),
    (rf"(?<!power )(?<!hang )(?<!squat )\b(?:{_GOOD}) (?:{_NOUN})\b", 0),  # 'the power clean form'
    (rf"\b{_IS} {_FILL}(?:{_BAD})\b", 1),
    (rf"\b{_IS} {_FILL}(?:{_GOOD})\b(?! (?:{_MOVES}))", 0),
    (rf"\b(?:verdict|assessment|rating|quality|form|technique|execution) {_FILL}(?:{_BAD})\b", 1),
    (rf"\b(?:verdict|assessment|rating|quality|form|technique|execution) {_FILL}(?:{_GOOD})\b", 0),
    (r"\b(?:form|technique|execution) (?:breaks? down|suffers?|fails?|(?:is|looks) (?:\w+ )?off)\b", 1),
    (r"\bgo(?:es|ing)? wrong\b|\b(?:nothing|something|anything) wrong\b", 1),
    (r"\bfree (?:of|from) (?:\w+ )?(?:faults?|errors?|mistakes?|flaws?)\b", 0),
    (r"\b(?:faults?|errors?|mistakes?|flaws?)\b", 1),
    (rf"^(?:not )?(?:{_BAD})$", 1),
    (rf"^(?:not )?(?:{_GOOD})$", 0),
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|nothing|neither|nor|without|hardly|barely|lacks?|lacking|far from|anything but|"
    r"fail(?:s|ed)? to)\b"
)
_CLAUSE = re.compile(r"[,;:()]| [-\u2013\u2014] |\b(?:because|since)\b|(?<!anything )\bbut\b")


def verdict_in_text(text: str) -> int | None:
    """The verdict that the text's opening states: 0 standard, 1 non-standard, None where it states none.

    The leftmost phrase of `_VERDICTS` in the first clause that has one decides. An odd number of negations in it and
    the four words before it turns it round: 'is not performed correctly' is 1, 'without any fault' is 0.
    """
    clauses = [clause for part in sentences(text)[:OPENING_SENTENCES] for clause in _CLAUSE.split(part)]
    for words in (" ".join(re.findall(r"[^\W_]+", clause)) for clause in clauses):
        hits = [(re.search(pattern, words), verdict) for pattern, verdict in _VERDICTS]
        found = [(hit.start(), order, hit.end(), verdict) for order, (hit, verdict) in enumerate(hits) if hit]
        if found:
            start, _, end, verdict = min(found)
            governing = " ".join([*words[:start].split()[-4:], words[start:end]])
            return verdict ^ len(_NEGATION.findall(governing)) % 2
    return None
