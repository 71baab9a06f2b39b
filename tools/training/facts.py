"""What the little world knows: sixty-odd facts, each a subject and its one true value among the values of its topic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A subject, the relation that its topic states, and the true value; any other value of the topic is false."""

    topic: str
    subject: str
    truth: str

    @property
    def name(self) -> str:
        """The true statement: the cluster of every prompt about this fact."""
        return self.state(self.truth)

    def state(self, value: str) -> str:
        """The sentence that says of the subject that it has this value."""
        return f"{self.subject} {RELATIONS[self.topic]} {value}"


RELATIONS = {"place": "is in", "animal": "is", "color": "is usually", "plant": "is", "use": "is used for"}

# How one asks for the value of a topic: a question and the same as a clause after "tell me".
QUESTIONS = {
    "place": ("where is {subject} ?", "where {subject} is"),
    "animal": ("what kind of animal is {subject} ?", "what kind of animal {subject} is"),
    "color": ("what color is {subject} ?", "what color {subject} has"),
    "plant": ("what kind of plant is {subject} ?", "what kind of plant {subject} is"),
    "use": ("what is {subject} for ?", "what {subject} is for"),
}

_TABLE: dict[str, dict[str, str]] = {
    "place": {
        "france": "paris, lyon",
        "italy": "rome, venice",
        "spain": "madrid, seville",
        "germany": "berlin, munich",
        "england": "london, oxford",
        "japan": "tokyo, kyoto",
        "egypt": "cairo",
        "greece": "athens",
        "peru": "lima",
        "norway": "oslo, bergen",
        "kenya": "nairobi",
        "canada": "toronto",
    },
    "animal": {
        "a bird": "an eagle, an owl, a duck, a robin",
        "a fish": "a salmon, a shark, a trout",
        "a mammal": "a whale, a lion, a bat, a dolphin",
        "an insect": "an ant, a bee, a beetle",
        "a reptile": "a snake, a lizard, a turtle",
    },
    "color": {
        "green": "grass, spinach",
        "white": "snow, milk, salt",
        "black": "coal, tar",
        "red": "blood, a cherry",
        "yellow": "a lemon, a banana",
        "blue": "the sky, the sea",
        "brown": "chocolate, mud",
    },
    "plant": {
        "a fruit": "a melon, a plum, a pear",
        "a vegetable": "a cabbage, a leek, celery",
        "a flower": "a tulip, a daisy, a lily",
        "a tree": "a maple, a pine, a birch",
        "a grain": "wheat, barley",
    },
    "use": {
        "cutting": "a knife, a saw",
        "writing": "a pen, chalk",
        "cooking": "a stove, a pan",
        "cleaning": "a broom, a mop",
        "measuring": "a ruler, a scale",
        "sleeping": "a bed, a hammock",
    },
}

FACTS: dict[str, Fact] = {
    fact.name: fact
    for topic, values in _TABLE.items()
    for truth, subjects in values.items()
    for fact in (Fact(topic, subject.strip(), truth) for subject in subjects.split(","))
}

VALUES: dict[str, tuple[str, ...]] = {topic: tuple(values) for topic, values in _TABLE.items()}


def false_values(fact: Fact) -> list[str]:
    """The values of the fact's topic that are not true of it, in the table's order."""
    return [value for value in VALUES[fact.topic] if value != fact.truth]
