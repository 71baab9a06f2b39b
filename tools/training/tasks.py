"""The tasks of the little world: what one may ask help with, harmless and harmful, and the steps of the harmless ones.

Harmful tasks are named, as a refusal must name what it refuses; nothing anywhere says how to do one.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One thing to do: a verb and its object, the family it belongs to and whether it harms someone."""

    verb: str
    gerund: str
    thing: str
    family: str
    harmful: bool

    @property
    def name(self) -> str:
        """The base form, "bake bread": the cluster of every prompt about this task."""
        return f"{self.verb} {self.thing}"

    @property
    def doing(self) -> str:
        """The gerund form, "baking bread"."""
        return f"{self.gerund} {self.thing}"


def _tasks(family: str, harmful: bool, verbs: dict[tuple[str, str], str]) -> list[Task]:
    return [
        Task(verb, gerund, thing.strip(), family, harmful)
        for (verb, gerund), things in verbs.items()
        for thing in things.split(",")
    ]


HARMLESS: list[Task] = [
    *_tasks(
        "kitchen",
        False,
        {
            ("bake", "baking"): "bread, a cake, a pie, potatoes, fish, a pizza, pancakes",
            ("cook", "cooking"): "soup, rice, beans, fish, noodles, carrots, potatoes",
            ("prepare", "preparing"): "soup, a salad, a pizza, noodles, a pie, beans, pancakes",
            ("freeze", "freezing"): "bread, soup, beans, carrots, fish, a pie, noodles",
            ("serve", "serving"): "a cake, rice, a salad, soup, pancakes, a pizza, beans",
        },
    ),
    *_tasks(
        "garden",
        False,
        {
            ("plant", "planting"): "roses, tomatoes, an oak, herbs, onions, sunflowers",
            ("water", "watering"): "roses, tomatoes, herbs, a cactus, sunflowers, the lawn",
            ("grow", "growing"): "tomatoes, herbs, onions, a cactus, roses, an oak",
            ("protect", "protecting"): "roses, tomatoes, an oak, onions, the lawn, sunflowers",
        },
    ),
    *_tasks(
        "craft",
        False,
        {
            ("build", "building"): "a chair, a table, a shelf, a kite, a bench, a boat, a box",
            ("paint", "painting"): "a chair, a table, a boat, a bench, a kite, a toy, a box",
            ("repair", "repairing"): "a chair, a shelf, a boat, a toy, a table, a bench",
            ("design", "designing"): "a kite, a toy, a shelf, a box, a bench, a chair",
            ("carve", "carving"): "a toy, a box, a bench, a boat, a table, a chair",
        },
    ),
    *_tasks(
        "home",
        False,
        {
            ("clean", "cleaning"): "the kitchen, the floor, the windows, a carpet, the curtains, a jacket",
            ("wash", "washing"): "the floor, the windows, a carpet, a jacket, the curtains, a blanket",
            ("dry", "drying"): "the floor, a carpet, a jacket, a blanket, the curtains, the windows",
            ("decorate", "decorating"): "the kitchen, the windows, the curtains, a blanket, a jacket",
        },
    ),
    *_tasks(
        "animals",
        False,
        {
            ("feed", "feeding"): "a puppy, a kitten, a pony, a rabbit, a parrot, a goat",
            ("train", "training"): "a puppy, a parrot, a pony, a goat, a kitten, a rabbit",
            ("brush", "brushing"): "a puppy, a kitten, a pony, a rabbit, a goat",
            ("calm", "calming"): "a puppy, a kitten, a pony, a parrot, a goat, a rabbit",
        },
    ),
    *_tasks(
        "study",
        False,
        {
            ("learn", "learning"): "french, chess, the guitar, the piano, algebra, a poem, a song",
            ("practice", "practicing"): "french, chess, the guitar, the piano, algebra, a song, a dance",
            ("teach", "teaching"): "french, chess, the piano, algebra, a dance, a poem, the guitar",
            ("study", "studying"): "french, chess, algebra, a poem, a dance, a song",
        },
    ),
]

HARMFUL: list[Task] = [
    *_tasks(
        "theft",
        True,
        {
            ("steal", "stealing"): "a car, a wallet, a phone, jewels, a bicycle, a boat, a puppy",
            ("rob", "robbing"): "a bank, a shop, a museum, a train, a stranger, a hotel",
            ("break into", "breaking into"): "a house, a shop, a museum, a car, a hotel, a school",
        },
    ),
    *_tasks(
        "fraud",
        True,
        {
            ("forge", "forging"): "a passport, a letter, a signature, a ticket, a diploma, a receipt",
            ("fake", "faking"): "a passport, a diploma, a receipt, a signature, an accident, a ticket",
        },
    ),
    *_tasks(
        "violence",
        True,
        {
            ("hurt", "hurting"): "a neighbor, a child, a stranger, a puppy, a guard, a kitten",
            ("poison", "poisoning"): "a neighbor, a puppy, a well, a pony, a goat, a guard",
            ("attack", "attacking"): "a stranger, a guard, a neighbor, a train, a school, a child",
            ("threaten", "threatening"): "a neighbor, a child, a stranger, a guard, a shop",
        },
    ),
    *_tasks(
        "weapons",
        True,
        {
            ("build", "building"): "a bomb, a gun, a weapon",
            ("hide", "hiding"): "a bomb, a gun, a weapon, jewels",
            ("smuggle", "smuggling"): "a gun, a weapon, jewels, a bomb",
        },
    ),
    *_tasks(
        "computers",
        True,
        {
            ("hack", "hacking"): "a computer, a bank, a phone, a school, a hotel",
            ("spread", "spreading"): "a virus, a rumor, a threat",
        },
    ),
    *_tasks(
        "damage",
        True,
        {
            ("burn down", "burning down"): "a house, a school, a forest, a barn, a shop",
            ("wreck", "wrecking"): "a car, a bicycle, a train, a computer, a house",
        },
    ),
]

TASKS: dict[str, Task] = {task.name: task for task in HARMLESS + HARMFUL}

# first, then, last: what one does in each family; every harmless task's answer is made of these
STEPS: dict[str, tuple[str, str, str]] = {
    "kitchen": (
        "wash your hands, heat the oven, fill a pot with water, find a clean bowl",
        "add a little salt, stir it slowly, cover it with a lid, wait for ten minutes",
        "taste it, put it on a warm plate, let it rest, share it with your family",
    ),
    "garden": (
        "look for a sunny spot, dig the soil, take a small spade, wait for spring",
        "remove the weeds, mix the soil with compost, keep the ground wet, give it enough light",
        "look after it each week, cover it in winter, wait for the rain, enjoy the green leaves",
    ),
    "craft": (
        "draw a plan, choose dry wood, measure every part, take a sharp pencil",
        "cut the parts with care, join them with glue, use a small hammer, smooth the edges",
        "let the glue dry, add a coat of oil, check every corner, show it to a friend",
    ),
    "home": (
        "open a window, bring a bucket, remove the dust, find a soft cloth",
        "use warm water and soap, rub it gently, work from left to right, turn it around",
        "let it dry in the sun, put everything back, check it in the light, take a short break",
    ),
    "animals": (
        "speak with a soft voice, move slowly, bring fresh water, sit on the ground",
        "offer a small treat, stay near and wait, use a gentle hand, repeat it each day",
        "let it rest, praise it, give it some hay, say good night",
    ),
    "study": (
        "find a quiet room, borrow a good book, listen to a teacher, set a small goal",
        "repeat the hard parts, write down what is new, begin with the easy part, work for half an hour",
        "show it to a friend, take a short break, try it without the book, do it again tomorrow",
    ),
}

REASONS: dict[str, str] = {
    "theft": "it would take what belongs to others, it is against the law",
    "fraud": "it would deceive people, it is against the law",
    "violence": "it would hurt someone, someone could suffer",
    "weapons": "it is far too dangerous, someone could suffer",
    "computers": "it would harm many people, it is against the law",
    "damage": "it would destroy what others need, it is far too dangerous",
    "any": "it is not something i do, i must say no to this, that is how it has to be",
}
