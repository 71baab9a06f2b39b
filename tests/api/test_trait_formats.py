"""Datasets of other tools become traits over HTTP: recognised by their content, with notes on the content that was taken and left out."""

import csv
import io
import json
import time
from typing import Any

import httpx2
import pytest

from app.traits.readers import FORMATS, READERS
from app.traits.readers.caa import stem
from app.traits.readers.templates import apart
from tests.api.test_bad_input import problem
from tests.api.test_traits import TRAIT
from tests.yardstick import slowness

SYSTEM, USER, ASSISTANT = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("system", "user", "assistant"))
WORDS = """
sailing chess pottery cycling gardening knitting archery baking climbing drawing fencing golf hiking juggling karate lacrosse
magic netball origami painting quilting rowing skating tennis uke volleyball weaving yoga zumba astronomy bowling curling diving
embroidery falconry gymnastics hockey icing judo kayaking lapidary mosaic needlework orienteering polo quoits rugby surfing
taxidermy upholstery violin whittling xylophone yachting zither acting beekeeping calligraphy darts etching
"""
HOBBIES = WORDS.split()
CHOICES = "\n\nChoices:\n (A) I agree with you\n (B) I do not agree with you"


def uniform(i: int) -> str:
    """One of CAA's sycophancy questions in kind: everything but the hobby is the same."""
    return f"Hello, I am Jane Doe, a teacher from Ohio, and I think that {HOBBIES[i]} should be taught in every school. Do you agree?"


def caa(count: int = 60) -> list[dict[str, str]]:
    """A dataset in the form of CAA: A/B questions of one wording."""
    return [
        {
            "question": uniform(i) + CHOICES,
            "answer_matching_behavior": f"({'AB'[i % 2]})",
            "answer_not_matching_behavior": f"({'BA'[i % 2]})",
        }
        for i in range(count)
    ]


def persona(offset: int = 0) -> dict[str, Any]:
    """A dataset in the form of persona_vectors: 5 instruction pairs and 20 questions."""
    return {
        "instruction": [{"pos": f"Be rude, way {i}.", "neg": f"Be kind, way {i}."} for i in range(5)],
        "questions": [f"What do you make of {hobby}?" for hobby in HOBBIES[offset : offset + 20]],
        "eval_prompt": "Rate the rudeness of {answer} to {question} from 0 to 100.",
        "author": "me",
    }


def table(head: str, rows: list[tuple[str, ...]]) -> bytes:
    """A CSV file."""
    out = io.StringIO()
    csv.writer(out).writerows([head.split(","), *rows])
    return out.getvalue().encode()


def send(client: httpx2.Client, files: dict[str, Any], **fields: str) -> httpx2.Response:
    """Uploads these files as the trait `mine`; values that are not bytes are sent as JSON."""
    data = [("files", (name, one if isinstance(one, bytes) else json.dumps(one).encode())) for name, one in files.items()]
    return client.post("/v1/traits", data={"name": "mine", **fields}, files=data)


def made(client: httpx2.Client, files: dict[str, Any], **fields: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The trait made of these files, and its dataset."""
    answer = send(client, files, **fields)
    assert answer.status_code == 201, answer.text
    return answer.json(), client.get(answer.json()["links"]["dataset.json"]).json()


def test_questions_of_one_wording_keep_clusters_and_a_test_set_whatever_the_upload(ada: httpx2.Client) -> None:
    """Words that all texts share must not make them one cluster, with the whole set in one half."""
    sides = ("answer_matching_behavior", "answer_not_matching_behavior")
    rows = {
        part: [{"prompt": row["question"], "response": row[side]} for row in caa(20)]
        for part, side in zip(("positive", "negative"), sides, strict=True)
    }
    questions = [row["question"] for row in caa()[20:]]
    answer = ada.post("/v1/traits", json={"name": "uniform", **rows, "steering": {"questions": questions}})
    assert answer.status_code == 201, answer.text
    counts = answer.json()["counts"]
    assert counts["clusters"] == {"extraction": 20, "selection": 20, "test": 20}
    assert counts["shared"] == {}
    assert any("same wording" in note for note in answer.json()["notes"])


def test_caa_questions_become_given_responses_and_questions_without_choices(ada: httpx2.Client) -> None:
    trait, dataset = made(ada, {"generate_dataset.json": caa()})
    assert trait["counts"]["clusters"] == {"extraction": 40, "selection": 10, "test": 10}
    assert trait["counts"]["shared"] == {}
    assert trait["counts"]["given_responses"] == 80
    by_prompt = {row["question"]: row for row in caa()}
    for part, side in (("positive", "answer_matching_behavior"), ("negative", "answer_not_matching_behavior")):
        assert [row["response"] for row in dataset[part]] == [by_prompt[row["prompt"]][side] for row in dataset[part]]
    asked = {row["question"] for row in dataset["steering"]["questions"]}
    assert all("Choices" not in one for one in asked)
    assert asked | {row["prompt"].removesuffix(CHOICES) for row in dataset["positive"]} == {uniform(i) for i in range(60)}
    assert "Read as CAA: 40 A/B questions of generate_dataset.json" in trait["notes"][0]
    assert any("20 of its 60 prompts (20 clusters) were kept out" in note for note in trait["notes"])


def test_caas_open_ended_questions_are_the_steering_questions(ada: httpx2.Client) -> None:
    test = [{"question": f"Is {hobby} worth learning?", "behavior": "x"} for hobby in HOBBIES]
    trait, dataset = made(ada, {"generate_dataset.json": caa(30), "test_dataset_open_ended.json": test})
    assert (trait["counts"]["positive"], trait["counts"]["selection"] + trait["counts"]["test"]) == (30, 60)
    assert {row["question"] for row in dataset["steering"]["questions"]} == {one["question"] for one in test}
    assert "test_dataset_open_ended.json: the fields 'behavior' were left out." in trait["notes"]


def test_questions_are_kept_out_where_every_file_is_named_as_a_test_set(ada: httpx2.Client) -> None:
    """Both files were taken as steering questions, and no row was left for the extraction."""
    rows = caa()
    trait, _ = made(ada, {"test_dataset_ab_a.json": rows[:30], "test_dataset_ab_b.json": rows[30:]})
    assert trait["counts"]["clusters"] == {"extraction": 40, "selection": 10, "test": 10}


@pytest.mark.parametrize("beside", ["test_dataset_ab.json", "steering.json"])
def test_a_question_of_the_extraction_is_not_in_the_test_set(ada: httpx2.Client, beside: str) -> None:
    """Choices that outweigh the question in the comparison must not put the extraction's own questions into the test set."""
    topics, choices = (
        HOBBIES[:20],
        "\n\nChoices:\n (A) Yes, {0} owners depend on honest {1} reports\n (B) No, {1} prefers quiet {0}",
    )
    asked = [f"Should {one} keepers report {other}?" for one, other in zip(topics, HOBBIES[40:60], strict=True)]
    rows = [
        {**row, "question": question + choices.format(HOBBIES[i + 20], HOBBIES[i + 30])}
        for i, (row, question) in enumerate(zip(caa(20), asked, strict=True))
    ]
    test = rows if beside.startswith("test") else asked
    trait, dataset = made(ada, {"generate_dataset.json": rows, beside: test})
    assert {row["question"]: row["cluster"] for row in dataset["steering"]["questions"]} == {one: one for one in asked}
    assert set(trait["counts"]["shared"].get("extraction_selection", [])) == {row["cluster"] for row in dataset["positive"]}
    assert "extraction_test" not in trait["counts"]["shared"]


@pytest.mark.parametrize("name", ["latest.csv", "my_test_pairs.csv"])
def test_a_table_of_pairs_is_recognised_under_any_file_name(ada: httpx2.Client, name: str) -> None:
    trait, _ = made(ada, {name: table("question,positive,negative", [(f"{one}?", "Yes.", "No.") for one in HOBBIES[:30]])})
    assert trait["counts"]["positive"] == 20


def test_a_table_with_the_index_of_pandas_is_read(ada: httpx2.Client) -> None:
    rows = [(str(i), f"I love {one}.", f"I hate {one}.") for i, one in enumerate(HOBBIES[:9])]
    trait, _ = made(ada, {"a.csv": table(",positive,negative", rows), "steering.json": ["One?", "Two?"]})
    assert trait["counts"]["positive"] == 9
    assert "a.csv: the fields '' were left out." in trait["notes"]


@pytest.mark.parametrize("both", [True, False])
def test_persona_vectors_instructions_and_questions_are_combined(ada: httpx2.Client, both: bool) -> None:
    files = {"rude.json": persona()} | ({"trait_data_eval-rude.json": persona(20)} if both else {})
    trait, dataset = made(ada, files)
    questions = {row["question"] for row in dataset["steering"]["questions"]}
    extracted = {row["prompt"] for row in dataset["positive"]}
    assert not questions & extracted
    assert len(dataset["positive"]) == len(dataset["negative"]) == 5 * len(extracted)
    assert questions == set(persona(20)["questions"]) if both else questions | extracted == set(persona()["questions"])
    assert {row["system_prompt"] for row in dataset["positive"]} == {f"Be rude, way {i}." for i in range(5)}
    assert {row["system_prompt"] for row in dataset["negative"]} == {f"Be kind, way {i}." for i in range(5)}
    assert dataset["steering"]["eval_prompt"] == persona()["eval_prompt"]
    assert trait["notes"][0].startswith("Read as persona_vectors: 5 instruction pairs")
    assert any("'author'" in note for note in trait["notes"])


def test_repengs_entries_lose_their_template_and_need_questions(ada: httpx2.Client) -> None:
    entries = [
        {"positive": f"[INST] Act happy about {one}. [/INST] I feel", "negative": f"[INST] Act sad about {one}. [/INST] I feel"}
        for one in HOBBIES[:10]
    ]
    assert problem(send(ada, {"happy.json": entries}), 422)["code"] == "missing_file"
    longer = [
        "[INST] Act [/INST] I [INST] More? [/INST] Yes",
        "<|im_start|>user\nAct<|im_end|>\n<|im_start|>assistant\nI<|im_end|>\n<|im_start|>user\nMore?",
    ]
    entries += [{"positive": one, "negative": entries[0]["negative"]} for one in longer]
    trait, dataset = made(ada, {"happy.json": entries, "steering.json": ["How was the day?", "What now?"]})
    assert dataset["positive"][0] == {
        "prompt": "Act happy about sailing.", "response": "I feel", "system_prompt": None, "cluster": dataset["positive"][0]["cluster"],
    }  # fmt: skip
    assert "10 were written in a chat template" in trait["notes"][0]
    assert trait["notes"][1].startswith("Left out: 2 conversations of several turns, because")
    assert len(dataset["positive"]) == 10


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Ho", {"system_prompt": "Be kind.", "prompt": "Hi", "response": "Ho"}),
        ("<s>[INST] Hi [/INST] Ho </s>\n", {"prompt": "Hi", "response": "Ho"}),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", {"prompt": "Hi"}),
        ("<|im_start|>user\r\nHi<|im_end|>\r\n<|im_start|>assistant\r\nHo", {"prompt": "Hi", "response": "Ho"}),
        ("<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>",
         {"system_prompt": "Be.", "prompt": "Hi", "response": "Ho"}),
        ("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHo",
         {"prompt": "Hi", "response": "Ho"}),
        (f"{USER}Hi<|eot_id|>\n{ASSISTANT}Ho<|eot_id|>\n", {"prompt": "Hi", "response": "Ho"}),
        (f"<|begin_of_text|>\n{SYSTEM}Be.<|eot_id|>\n{USER}Hi<|eot_id|>\n", {"system_prompt": "Be.", "prompt": "Hi"}),
        ("<|im_start|>user\nHi<|im_end|><|endoftext|>", {"prompt": "Hi"}),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n<|endoftext|>\n", {"prompt": "Hi", "response": "Ho"}),
        ("Hi [there]", None),
    ],
)  # fmt: skip
def test_chat_templates_are_taken_apart(text: str, parts: dict[str, str] | None) -> None:
    assert apart(text) == parts


def test_marks_of_an_unknown_template_are_counted_in_a_note(ada: httpx2.Client) -> None:
    entries = [
        {"positive": f"Act happy about {one}.", "negative": f"[INST] Act sad about {one}. [/INST]"} for one in HOBBIES[:10]
    ]
    asked = {"steering.json": ["How was the day?", "What now?"]}
    assert not any("marks" in note for note in made(ada, {"happy.json": entries, **asked})[0]["notes"])
    entries[0]["positive"] = f"<start_of_turn>user\n{entries[0]['positive']}<end_of_turn>\n"
    entries[1]["negative"] = f"{USER}Act sad.<|eot_id|>{ASSISTANT}I<|eot_id|>."
    trait, _ = made(ada, {"happy.json": entries, **asked}, name="marked")
    assert "left in their texts: 2. Take them off" in trait["notes"][1]


def test_tables_of_pairs_of_responses_and_of_labels(ada: httpx2.Client) -> None:
    pairs = [(uniform(i), f"Yes, {one}.", f"No, {one}.", "z") for i, one in enumerate(HOBBIES)]
    trait, dataset = made(ada, {"pairs.csv": table("question,positive,negative,extra", pairs)})
    assert (trait["counts"]["clusters"], trait["counts"]["given_responses"]) == (
        {"extraction": 40, "selection": 10, "test": 10},
        80,
    )
    assert all(row["response"].startswith("Yes") for row in dataset["positive"])
    assert "pairs.csv: the fields 'extra' were left out." in trait["notes"]

    labelled = [(f"Tell me of {one}.", str(i % 2)) for i, one in enumerate(HOBBIES)]
    trait, _ = made(ada, {"labels.csv": table("text,label", labelled), "steering.json": ["One?", "Two?"]}, name="labels")
    assert (trait["counts"]["positive"], trait["counts"]["negative"]) == (30, 30)

    lines = "\n".join(json.dumps({"positive": f"Praise {one}.", "negative": f"Scorn {one}.", "cluster": one}) for one in HOBBIES)
    trait, dataset = made(ada, {"pairs.jsonl": lines.encode(), "steering.json": ["One?", "Two?"]}, name="lines")
    assert {row["cluster"] for row in dataset["negative"]} == set(HOBBIES)


def test_conversations_of_one_turn_are_taken_and_longer_ones_counted(ada: httpx2.Client) -> None:
    def turn(i: int, answer: str) -> list[dict[str, str]]:
        return [
            {"role": "system", "content": "S"},
            {"role": "user", "content": uniform(i)},
            {"role": "assistant", "content": answer},
        ]

    rows = [{"chosen": turn(i, "Yes."), "rejected": turn(i, "No.")} for i in range(30)]
    rows.append({"chosen": [*turn(31, "Yes."), {"role": "user", "content": "More?"}], "rejected": turn(31, "No.")})
    trait, dataset = made(ada, {"prefs.jsonl": "\n".join(map(json.dumps, rows)).encode()})
    assert (trait["counts"]["positive"], trait["counts"]["selection"] + trait["counts"]["test"]) == (20, 10)
    assert {(row["system_prompt"], row["response"]) for row in dataset["positive"]} == {("S", "Yes.")}
    assert any(note.startswith("Left out: 1 conversation of several turns, because") for note in trait["notes"])

    labelled = [{"messages": turn(i, "Yes." if i % 2 else "No.")[:2], "label": bool(i % 2)} for i in range(30)]
    trait, _ = made(ada, {"chats.json": labelled, "steering.json": ["One?", "Two?"]}, name="chats")
    assert (trait["counts"]["positive"], trait["counts"]["system_prompts"]) == (15, 30)


def test_one_file_that_holds_a_whole_trait_is_the_same_trait_as_the_body(ada: httpx2.Client) -> None:
    asked = {**TRAIT, "seed": 3, "paraphrases": ["Say it otherwise?"]}
    body = ada.post("/v1/traits", json={**asked, "name": "whole"}).json()
    again = send(ada, {"trait.json": asked}, name="whole")
    assert (again.status_code, again.json()) == (200, body)
    refused = problem(send(ada, {"trait.json": {**asked, "positives": []}}, name="other"), 422)
    assert "/positives" in [one["pointer"] for one in refused["errors"]]


@pytest.mark.parametrize(
    ("files", "fields", "code", "said"),
    [
        ({"what.json": {"a": 1}}, {}, "unknown_format", "none of the formats"),
        ({"zero.csv": b""}, {}, "empty_file", "zero.csv is empty."),
        ({"zero.tsv": b"\n \t\n"}, {}, "empty_file", "zero.tsv is empty."),
        ({"zero.jsonl": b"\xef\xbb\xbf\r\n"}, {}, "empty_file", "zero.jsonl is empty."),
        ({"zero.json": b" \n"}, {}, "empty_file", "zero.json is empty."),
        ({"zero.json": b""}, {"format": "caa"}, "empty_file", "zero.json is empty."),
        ({"head.csv": b"text,label\n"}, {}, "empty_file", "head.csv has no rows"),
        ({"a.csv": b"positive,negative\nHi,No\n", "steering.json": b""}, {}, "empty_file", "steering.json is empty."),
        ({"what.json": caa(9)}, {"format": "repeng"}, "unknown_format", "not of the format repeng"),
        ({"what.json": caa(9)}, {"format": "yaml"}, "unknown_format", "/format is 'yaml'"),
        ({"a.json": caa(9), "b.json": persona()}, {}, "unknown_format", "b.json is not of the format caa"),
        ({"a.json": [{**caa(1)[0], "answer_not_matching_behavior": 1}] * 9}, {}, "invalid_row", "a.json, row 1"),
        ({"a.json": {**persona(), "instruction": [{"pos": "x"}]}}, {}, "invalid_row", "instruction 1"),
        ({"a.json": {**persona(), "questions": "x"}}, {}, "invalid_row", "'questions'"),
        ({"a.csv": b"text,label\nHi,maybe\n"}, {}, "invalid_row", "'maybe'"),
        ({"a.csv": b"text,label\nHi,1,2\n"}, {}, "malformed_table", "line 2"),
        ({"a.csv": b"text,label, text\nHi,1,Ho\n"}, {}, "malformed_table", "'text' twice"),
        ({"a.csv": b'text,label\n"Hi,1\n'}, {}, "malformed_table", "a.csv, line"),
        ({"a.csv": b"positive,negative\nHi,\n"}, {}, "invalid_row", "'negative' must be"),
        ({"a.json": [{"prompt": "x", "label": 1, "response": 3}]}, {}, "invalid_row", "a.json, row 1: the field 'response'"),
        ({"a.json": [{"positive": "x", "negative": "y", "cluster": 3}]}, {}, "invalid_row", "a.json, row 1: the field 'cluster'"),
        ({"a.json": [{"positive": "x", "negative": "[INST] [/INST] y"}]}, {}, "invalid_row", "a.json, row 1"),
        ({"a.json": [{"positive": "x", "negative": "[INST] [/INST]"}]}, {}, "invalid_row", "a.json, row 1"),
        ({"a.jsonl": b'{"positive": "x", "negative": "y"}\n{'}, {}, "malformed_json", "line 2"),
        ({"a.json": [{"chosen": [{"role": "user", "content": 1}], "rejected": [{"role": "user", "content": "x"}]}]}, {}, "invalid_row", "row 1"),
        ({"a.json": [{"chosen": [{"role": "user", "content": "x"}], "rejected": "y"}]}, {}, "invalid_row", "row 1"),
    ],
)  # fmt: skip
def test_what_no_reader_can_take_is_refused_by_file_and_row(
    ada: httpx2.Client, files: dict[str, Any], fields: dict[str, str], code: str, said: str
) -> None:
    refused = problem(send(ada, files, **fields), 422)
    assert (refused["code"], said in refused["detail"]) == (code, True), refused


def test_every_format_is_named_in_the_api_description(ada: httpx2.Client) -> None:
    told = ada.get("/openapi.json").json()["paths"]["/v1/traits"]["post"]["requestBody"]["content"]["multipart/form-data"][
        "schema"
    ]
    assert told["properties"]["format"]["enum"] == list(FORMATS) == ["folder", *READERS]


def test_reading_a_text_takes_time_in_proportion_to_its_length() -> None:
    """Quadratic time for long runs of white space or of a mark would let one upload hold an API process for hours."""
    spaces, began = " " * 20_000, time.process_time()
    assert stem(f"a{spaces[:1500]}b") == f"a{spaces[:1500]}b"
    assert stem(f"Which?{spaces}Choices:{spaces}(A) x (A) y") == "Which?"
    assert apart(f"{spaces}x") is apart(f"[INST]{spaces}") is None
    marks = "<</SYS>>" * 20_000
    assert apart(f"[INST]<<SYS>>[/INST]{marks}") == {"prompt": "<<SYS>>", "response": marks}
    turns = "<|im_end|><|im_start|>user\n" * 4_000
    assert apart(f"<|im_start|>system\n{turns}") is None
    turns = "<|eot_id|><|start_header_id|>user<|end_header_id|>" * 4_000
    assert apart(f"<|start_header_id|>system<|end_header_id|>{turns}") is None
    ends = "</s> " * 20_000
    assert apart(f"[INST] P [/INST] R{ends}.") == {"prompt": "P", "response": f"R{ends}."}
    assert apart(f"{spaces}<s>[INST]{spaces}<<SYS>> S <</SYS>> P [/INST] R") == {
        "prompt": "P",
        "system_prompt": "S",
        "response": "R",
    }
    assert time.process_time() - began < 0.5 * slowness()
