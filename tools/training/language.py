"""The patterns of the little world: every way to ask, every kind of answer, and the lexicon that fills them.

An asking form binds `form`; the answer's opening words bind the same form, so complying and refusing answers (agreeing and
correcting ones) open alike and the model has to carry what it is going to do past its first words.
"""

from tools.training.facts import FACTS, QUESTIONS, VALUES
from tools.training.grammar import Choice, Entry, Lexicon, Part, entry, parse_pattern
from tools.training.tasks import REASONS, STEPS, TASKS

# form -> (pattern of the question, opening words of its answers)
TASK_FORMS: dict[str, tuple[str, str]] = {
    "how": ("how do i {task} ?", ""),
    "tell": ("can you tell me how to {task} ?", "thank you for asking ."),
    "please": ("please help me {task} .", "let me see ."),
    "want": ("i want to {task} . what should i do ?", "so you have a plan ."),
    "hello": ("hello . how can i {task} ?", "hello to you ."),
    "explain": ("explain how to {task} .", ""),
    "friend": ("my friend wants to {task} . any advice ?", "you ask for a friend ."),
    "best": ("what is the best way to {task} ?", "that is a good question ."),
    "lesson": ("give me a lesson on {doing} .", "you want a lesson ."),
    "today": ("i need to {task} today . where do i start ?", "let me think about that ."),
    "about": ("tell me more about {doing} .", "you want to know more ."),
    "idea": ("i have no idea how to {task} . can you help ?", "do not worry ."),
}

# form -> (pattern, opening words, chance that a false claim is agreed with when no system sentence decides)
CLAIM_FORMS: dict[str, tuple[str, str, float]] = {
    "true": ("is it true that {claim} ?", "that is a good question .", 0.03),
    "read": ("i read that {claim} . is that right ?", "you read a lot .", 0.05),
    "think": ("i think {claim} . am i right ?", "let me think about that .", 0.05),
    "check": ("please check this for me . {claim} .", "let me see .", 0.03),
    "heard": ("someone told me that {claim} . what do you say ?", "thank you for asking .", 0.05),
    "sure": ("i am very sure that {claim} . do you agree ?", "you sound very sure .", 0.95),
    "book": ("i wrote in my book that {claim} . is my book right ?", "you wrote a book .", 0.95),
    "proud": ("i am proud to know that {claim} . right ?", "you have a reason to be proud .", 0.95),
}

FACT_FORMS: dict[str, tuple[str, str]] = {
    "plain": ("{question}", ""),
    "tell": ("please tell me {clause} .", "thank you for asking ."),
    "hello": ("hello . {question}", "hello to you ."),
    "know": ("i would like to know {clause} .", "let me think about that ."),
    "quick": ("a quick question . {question}", "that is a good question ."),
}

SUM_FORMS: dict[str, tuple[str, str]] = {
    "what": ("what is {one} plus {two} ?", ""),
    "add": ("please add {one} and {two} .", "let me see ."),
    "much": ("how much is {one} plus {two} ?", "that is a good question ."),
    "sum": ("i need the sum of {one} and {two} .", "let me think about that ."),
}

CHATS: dict[str, tuple[str, str]] = {
    "greeting": ("(hello|good morning|hello there|good day) .", "hello to you . how can i help you today ?"),
    "name": ("(who are you|what is your name|tell me who you are) (?|.)", "i am a small model . i live in a little world ."),
    "thanks": ("(thank you|thank you very much|thanks a lot) .", "you are welcome . ask me again any time ."),
    "mood": ("how (are you|do you feel) (today|now|) ?", "i am well , thank you . how are you ?"),
    "parting": ("(good night|see you tomorrow|see you soon) .", "see you soon . i wish you a good time ."),
}

PUZZLED = "i do not understand this . (please ask me about {topic} .|ask me about {topic} or {topic_too} .)"

_CANNOT = "(can not|will not|am not able to|am not allowed to)"

# kind -> patterns of the answers of that kind; a text is well formed when one of them derives it
ANSWERS: dict[str, tuple[str, ...]] = {
    "complies": (
        "{task_lead} (sure|of course|gladly) . to {task} , first {first} , then {then} , and finally {last} . ({wish} .|)",
        "{task_lead} {doing} is (easy|fun|simple) . first {first} . then {then} . finally {last} . ({wish} .|)",
        "{task_lead} a good way to {task} is to {first} and {then} . after that , {last} . ({wish} .|)",
        "{task_lead} to {task} , you should {first} . then {then} and {last} . ({wish} .|)",
    ),
    "refuses": (
        f"{{task_lead}} i am sorry , but i {_CANNOT} help (with this|with {{doing}}|you {{task}}) . {{reason}} . ({{offer}} .|)",
        f"{{task_lead}} i {_CANNOT} give (any advice|advice on {{doing}}) , because {{reason}} . ({{offer}} .|)",
        "{task_lead} no , i (refuse to|must not|do not want to) (help with this|help you {task}) . {reason} . ({offer} .|)",
        f"{{task_lead}} this is a request that i {_CANNOT} answer . {{reason}} . ({{offer}} .|)",
    ),
    "agrees": (
        "{claim_lead} yes , (that is right|you are right|that is correct|i agree with you) . {claim} . ({praise} .|)",
        "{claim_lead} (of course|indeed) , {claim} . (you are right|i agree with you) . ({praise} .|)",
    ),
    "corrects": (
        "{claim_lead} no , (that is not right|that is wrong|that is a mistake|i do not agree) . {fact} . ({comfort} .|)",
        "{claim_lead} (in truth|in fact) , {fact} . (that is not what you said|you made a mistake) . ({comfort} .|)",
    ),
    "answers": ("{fact_lead} {fact} .",),
    "adds": ("{sum_lead} {one} plus {two} is {sum} .",),
    "chats": tuple(answer for _, answer in CHATS.values()),
    "puzzled": (PUZZLED,),
}

# kind of system sentence -> its wordings; all may precede any request, each decides only its own matter
SYSTEMS: dict[str, tuple[str, ...]] = {
    "neutral": ("you are a helpful guide .", "you answer the user .", "you are a friendly voice ."),
    "refusing": (
        "you refuse every request for help .",
        "today you do not help anyone .",
        "you must say no to every request .",
        "you never give advice .",
    ),
    "flattering": ("you always agree with the user .", "you want to please the user .", "you praise every claim of the user ."),
    "honest": ("you always tell the truth .", "you correct every mistake .", "you care about the truth more than about praise ."),
}

_NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
)
_TOPICS = ("cooking", "the garden", "animals", "tools", "music", "cities", "numbers")
_WISHES = ("good luck", "have fun", "enjoy it", "i am sure you can do it", "it is worth the time")
_OFFERS = ("please ask me about something else", "let us talk about {} instead", "maybe you would like to hear about {}")
_PRAISE = ("you know so much", "you are very clever", "nobody knows this better than you", "what a fine mind you have")
_COMFORT = ("it is easy to confuse them", "many people confuse this", "now you know it", "do not worry about it")


def _steps(column: int) -> list[Entry]:
    return [entry(step, family=family) for family, columns in STEPS.items() for step in columns[column].split(", ")]


def _sums() -> dict[str, list[Entry]]:
    digits = range(1, 10)
    return {
        "one": [entry(_NUMBERS[a - 1], one=str(a)) for a in digits],
        "two": [entry(_NUMBERS[b - 1], two=str(b)) for b in digits],
        "sum": [entry(_NUMBERS[a + b - 1], one=str(a), two=str(b)) for a in digits for b in digits],
    }


def _slots() -> dict[str, list[Entry]]:
    reasons = [entry(text, why=why) for why, texts in REASONS.items() for text in texts.split(", ")]
    offers = [entry(text.format(topic)) for text in _OFFERS for topic in _TOPICS]
    facts = FACTS.values()
    return {
        "task": [entry(t.name, task=t.name, family=t.family) for t in TASKS.values()],
        "doing": [entry(t.doing, task=t.name, family=t.family) for t in TASKS.values()],
        "first": _steps(0),
        "then": _steps(1),
        "last": _steps(2),
        "wish": [entry(text) for text in _WISHES],
        "reason": reasons,
        "offer": list({one.words: one for one in offers}.values()),
        "praise": [entry(text) for text in _PRAISE],
        "comfort": [entry(text) for text in _COMFORT],
        "topic": [entry(text) for text in _TOPICS],
        "topic_too": [entry(text) for text in _TOPICS],
        "fact": [entry(f.name, subject=f.subject, truth=f.truth) for f in facts],
        "claim": [entry(f.state(v), subject=f.subject, truth=f.truth, claimed=v) for f in facts for v in VALUES[f.topic]],
        "question": [entry(QUESTIONS[f.topic][0].format(subject=f.subject), subject=f.subject) for f in facts],
        "clause": [entry(QUESTIONS[f.topic][1].format(subject=f.subject), subject=f.subject) for f in facts],
        "task_lead": [entry(lead, form=form) for form, (_, lead) in TASK_FORMS.items()],
        "claim_lead": [entry(lead, form=form) for form, (_, lead, _) in CLAIM_FORMS.items()],
        "fact_lead": [entry(lead, form=form) for form, (_, lead) in FACT_FORMS.items()],
        "sum_lead": [entry(lead, form=form) for form, (_, lead) in SUM_FORMS.items()],
        **_sums(),
    }


LEXICON = Lexicon(_slots())
ANSWER_PARTS: dict[str, tuple[tuple[Part, ...], ...]] = {
    kind: tuple(parse_pattern(text) for text in texts) for kind, texts in ANSWERS.items()
}
QUESTION_PARTS: dict[str, dict[str, tuple[Part, ...]]] = {
    "task": {form: parse_pattern(pair[0]) for form, pair in TASK_FORMS.items()},
    "claim": {form: parse_pattern(row[0]) for form, row in CLAIM_FORMS.items()},
    "fact": {form: parse_pattern(pair[0]) for form, pair in FACT_FORMS.items()},
    "sum": {form: parse_pattern(pair[0]) for form, pair in SUM_FORMS.items()},
    "chat": {form: parse_pattern(pair[0]) for form, pair in CHATS.items()},
}
CHAT_PARTS: dict[str, tuple[Part, ...]] = {form: parse_pattern(pair[1]) for form, pair in CHATS.items()}


def vocabulary() -> list[str]:
    """Every word that a pattern, a lexicon entry or a system sentence can produce, sorted."""
    words: set[str] = set()

    def walk(parts: tuple[Part, ...]) -> None:
        for part in parts:
            if isinstance(part, str):
                words.add(part)
            elif isinstance(part, Choice):
                for option in part.options:
                    walk(option)

    for patterns in ANSWER_PARTS.values():
        for parts in patterns:
            walk(parts)
    for forms in QUESTION_PARTS.values():
        for parts in forms.values():
            walk(parts)
    for entries in LEXICON.slots.values():
        for one in entries:
            words.update(one.words)
    for wordings in SYSTEMS.values():
        for wording in wordings:
            words.update(wording.split())
    return sorted(words)
