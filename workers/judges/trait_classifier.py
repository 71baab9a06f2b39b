"""Classifies texts as positive, negative, or neither; fitted on a trait's own labelled responses.

Features: words and neighbouring pairs of words, present or not, after masking the words of the example's own prompt (a task's name must not
stand for the trait); and the share of the text's word pairs known from other responses, repetition, distinctness and length, which identify
texts that show neither class. Multinomial logistic regression, L2, C = 1, balanced classes, scikit-learn in float64 on one thread.

A response need not express the class of the prompt that elicited it. So each response is first predicted by classifiers that have not seen its
cluster; responses predicted as the opposite class (probability over half) are left out of the final fit, and counted.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression

from terms.documents.judge import ClassifierDocument, FittedDocument
from workers.judges.held_out import HeldOut, held_out
from workers.judges.words import looped, pieced, repeated_share, shuffled, words_of
from workers.science.threads import one_thread

POSITIVE, NEGATIVE, NEITHER = range(3)
FOLDS = 3
EMPTY = 4
"""Number of copies of the empty text among the examples of neither class."""
SHAPE = ("known", "repeated", "distinct", "length")
SHAPE_SCALE = (4.0, 4.0, 2.0, 0.5)
"""Scales the four numbers so that under the same penalty each counts as much as a few words."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Example:
    """A labelled text and the prompt it answers. Examples of one cluster are kept on one side of a split."""

    text: str
    prompt: str
    label: int
    cluster: str


@dataclass(frozen=True)
class TraitClassifier:
    """`terms` are the n-grams in column order, followed by the columns of SHAPE; `known_pairs` the word pairs of labelled responses."""

    terms: Mapping[str, int]
    known_pairs: frozenset[Pair]
    weights: NDArray[np.float64]
    """[3, terms + 4]"""
    bias: NDArray[np.float64]
    """[3]"""

    def probabilities(self, texts: Sequence[str], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Returns [N, 3]: positive, negative, neither. A row depends on its own text and prompt alone."""
        p_N3 = np.empty((len(texts), 3))
        words_3T, shape_3S = self.weights[:, : len(self.terms)], self.weights[:, len(self.terms) :]
        for row, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
            columns = [self.terms[term] for term in _terms(text, prompt) if term in self.terms]
            logits = words_3T[:, columns].sum(1) + (shape_3S * _shape(text, self.known_pairs)).sum(1) + self.bias
            powers = np.exp(logits - logits.max())
            p_N3[row] = powers / powers.sum()
        return p_N3

    def to_json(self) -> ClassifierDocument:
        """The whole classifier as JSON values; `from_json` gives an equal classifier."""
        return {
            "terms": sorted(self.terms),
            "known_pairs": sorted(" ".join(pair) for pair in self.known_pairs),
            "weights": self.weights.tolist(),
            "bias": self.bias.tolist(),
        }

    @classmethod
    def from_json(cls, stored: ClassifierDocument) -> "TraitClassifier":
        """Restores a classifier from the result of `to_json`."""
        pairs = frozenset((first, second) for first, second in (pair.split(" ") for pair in stored["known_pairs"]))
        terms = {term: column for column, term in enumerate(stored["terms"])}
        return cls(terms, pairs, np.array(stored["weights"]), np.array(stored["bias"]))


@dataclass(frozen=True)
class Fitted:
    """A classifier and the facts of its fit: its accuracy on unseen clusters (positive against negative), and the examples left out."""

    classifier: TraitClassifier
    held_out: HeldOut
    left_out: tuple[int, ...]

    def to_json(self) -> FittedDocument:
        """The classifier and its facts as JSON values."""
        return {"classifier": self.classifier.to_json(), "held_out": self.held_out.to_json(), "left_out": list(self.left_out)}

    @classmethod
    def from_json(cls, stored: FittedDocument) -> "Fitted":
        """Restores the result of `to_json`."""
        classifier, held_out = TraitClassifier.from_json(stored["classifier"]), HeldOut.from_json(stored["held_out"])
        return cls(classifier, held_out, tuple(stored["left_out"]))


def fit(labelled: Sequence[Example], neither: Sequence[Example], *, seed: int = 0) -> Fitted:
    """Fits the classifier on both classes' responses and on texts that are neither.

    Raises ValueError when a class has no responses. Where the clusters are too few to hold any out, no response is left out.
    """
    for label, name in ((POSITIVE, "positive"), (NEGATIVE, "negative")):
        if not any(example.label == label for example in labelled):
            raise ValueError(f"no {name} response with any text")
    unseen = _held_out(labelled, neither, seed)
    left_out: list[int] = []
    right: list[bool] = []
    for index, (example, row) in enumerate(zip(labelled, unseen, strict=True)):
        if row is not None:
            own, other = row[example.label], row[1 - example.label]
            right.append(bool(own > other))
            if other > 0.5:
                left_out.append(index)
    told = held_out(right, [example.cluster for example, row in zip(labelled, unseen, strict=True) if row is not None])
    kept = [example for index, example in enumerate(labelled) if index not in set(left_out)]
    if min(sum(example.label == label for example in kept) for label in (POSITIVE, NEGATIVE)) * 2 < min(
        sum(example.label == label for example in labelled) for label in (POSITIVE, NEGATIVE)
    ):
        kept, left_out = list(labelled), []  # the classes do not differ, so the predictions cannot tell which labels are wrong
    return Fitted(_fit([*kept, *neither]), told, tuple(left_out))


def _held_out(labelled: Sequence[Example], neither: Sequence[Example], seed: int) -> list[NDArray[np.float64] | None]:
    """Each labelled example's probabilities [3] from a classifier that has not seen its cluster; None where the other clusters lack a class.

    Runs of a few of its words may stand in texts pieced together, which are labelled neither and so favour no class.
    """
    clusters = sorted({example.cluster for example in labelled})
    random.Random(seed).shuffle(clusters)
    fold = {cluster: place % FOLDS for place, cluster in enumerate(clusters)}
    probabilities: list[NDArray[np.float64] | None] = [None] * len(labelled)
    for number in range(FOLDS):
        train = [example for example in labelled if fold[example.cluster] != number]
        test = [index for index, example in enumerate(labelled) if fold[example.cluster] == number]
        if not test or len({example.label for example in train}) < 2:
            continue
        made = _fit([*train, *(example for example in neither if fold.get(example.cluster) != number)])
        rows = made.probabilities([labelled[i].text for i in test], [labelled[i].prompt for i in test])
        for index, row in zip(test, rows, strict=True):
            probabilities[index] = row
    return probabilities


def _fit(examples: Sequence[Example]) -> TraitClassifier:
    documents = [_terms(example.text, example.prompt) for example in examples]
    counts: dict[str, int] = {}
    for terms in documents:
        for term in terms:
            counts[term] = counts.get(term, 0) + 1
    columns = {term: column for column, term in enumerate(sorted(term for term, count in counts.items() if count > 1))}
    owners: dict[Pair, set[str]] = {}
    for example in examples:
        if example.label != NEITHER:
            for pair in _pairs(example.text):
                owners.setdefault(pair, set()).add(example.cluster)
    rows, places = [], []
    shape = np.empty((len(examples), len(SHAPE)))
    for row, (example, terms) in enumerate(zip(examples, documents, strict=True)):
        term_columns = [columns[term] for term in terms if term in columns]
        rows += [row] * len(term_columns)
        places += term_columns
        shape[row] = _shape(example.text, {pair for pair in _pairs(example.text) if owners.get(pair, set()) - {example.cluster}})
    words = csr_matrix((np.ones(len(rows)), (rows, places)), shape=(len(examples), len(columns)))
    with one_thread():
        model = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-6, max_iter=2000)
        model.fit(hstack([words, csr_matrix(shape)]).tocsr(), [example.label for example in examples])
    return TraitClassifier(columns, frozenset(owners), _short(model.coef_), _short(model.intercept_))


def _short(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounds to six significant digits, in row-major order, so that the stored values are the used values and sums have the same order."""
    return np.array([[float(f"{value:.6g}") for value in row] for row in np.atleast_2d(values)]).reshape(values.shape)


def _terms(text: str, prompt: str) -> list[str]:
    """Words and neighbouring pairs, each once, sorted; the prompt's words leave gaps, and pairs do not span a gap."""
    masked = {word for word in words_of(prompt) if word[0].isalnum()}
    terms: set[str] = set()
    before = None
    for word in words_of(text):
        if word in masked:
            before = None
            continue
        terms.add(word)
        if before is not None:
            terms.add(f"{before} {word}")
        before = word
    return sorted(terms)


def _pairs(text: str) -> set[Pair]:
    words = words_of(text)
    return set(pairwise(words))


def _shape(text: str, known: frozenset[Pair] | set[Pair]) -> NDArray[np.float64]:
    words = words_of(text)
    pairs = _pairs(text)
    values = (
        sum(pair in known for pair in pairs) / len(pairs) if pairs else 0.0,
        repeated_share(words),
        len(set(words)) / len(words) if words else 0.0,
        math.log1p(len(words)),
    )
    return np.array(values) * SHAPE_SCALE


def neither_of(said: Sequence[Example], other_texts: Sequence[str], *, seed: int) -> list[Example]:
    """Makes examples of the third class, texts that show neither, from the labelled responses and other traits' texts. Equal arguments give
    equal examples.

    Each response shuffled, and looped twice; half as many pieced together from several responses, the empty text, and other traits' texts. A
    spoilt response keeps its cluster, so that holding out the cluster holds it out too; a text pieced together has none.
    """
    rng = random.Random(seed)
    examples = [Example("", "", NEITHER, "")] * EMPTY
    for response in said:
        for spoil in (shuffled, looped, looped):
            examples.append(Example(" ".join(spoil(words_of(response.text), rng)), response.prompt, NEITHER, response.cluster))
    texts = [words_of(response.text) for response in said]
    examples += [Example(" ".join(pieced(texts, rng)), "", NEITHER, "") for _ in range(len(said) // 2)]
    return examples + [Example(text, "", NEITHER, "") for text in other_texts]
