"""Traits and vectors are added from files and folders of several formats, by the client and by the command line."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from binnacle import BinnacleError, Client, ServiceError
from shipped import CHAT_TRAIT_NAMES, TRAIT_NAMES, trait_folder
from tests.client.test_cli import Cli, binnacle, environment, read
from tests.client.wire import Wire, lost_answer

__all__ = ["binnacle", "environment"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trait in the layout of trait-interp, with one unrelated file."""
    folder = tmp_path / "politeness"
    folder.mkdir()
    (folder / "positive.txt").write_text("Please greet the king.\n\nKindly thank a baker.\n")
    (folder / "negative.txt").write_text("Insult a horse.\nShout at the moon.\n")
    (folder / "steering.json").write_text(json.dumps(["How do I ask for leave?", "What shall I write to my aunt?"]))
    (folder / "notes.md").write_text("left alone")
    return folder


def test_a_folder_becomes_a_trait_and_comes_back_as_a_dataset(client: Client, folder: Path) -> None:
    made = client.add_trait(folder)
    assert (made["name"], made["counts"]["positive"], made["counts"]["selection"], made["counts"]["test"]) == (
        "politeness",
        2,
        1,
        1,
    )
    assert client.trait("politeness")["id"] == client.share("politeness", "private")["id"] == made["id"]
    dataset = client.trait_dataset(made["reference"])
    assert [row["prompt"] for row in dataset["positive"]] == ["Please greet the king.", "Kindly thank a baker."]
    assert client.add_trait(dataset)["id"] == made["id"]
    assert client.add_trait(folder, "manners")["name"] == "manners"
    assert {one["name"] for one in client.traits()} == {"politeness", "manners", *TRAIT_NAMES, *CHAT_TRAIT_NAMES}
    assert [one["name"] for one in client.traits(name="manners")] == ["manners"]


def test_traits_add_reads_files_of_persona_vectors_and_tables_of_pairs(binnacle: Cli, tmp_path: Path) -> None:
    """The two files of persona_vectors have the same name and do not collide; how they were read goes to stderr."""
    for folder, asked in (("trait_data_extract", "How is {}?"), ("trait_data_eval", "Why {}?")):
        (tmp_path / folder).mkdir()
        questions = [asked.format(word) for word in ("rain", "bread", "snow")]
        content = {
            "instruction": [{"pos": "Be rude.", "neg": "Be kind."}],
            "questions": questions,
            "eval_prompt": "Rate {answer}.",
        }
        (tmp_path / folder / "rude.json").write_text(json.dumps(content))
    files = [str(tmp_path / folder / "rude.json") for folder in ("trait_data_extract", "trait_data_eval")]
    made = binnacle("traits", "add", *files, "--json")
    assert json.loads(made.stdout)["counts"]["positive"] == 3
    told = binnacle("traits", "add", *files)
    assert "Read as persona_vectors: 1 instruction pairs x 3 questions" in " ".join(told.stderr.split())

    table = tmp_path / "manners.csv"
    table.write_text("positive,negative\nThank them.,Snub them.\nPraise it.,Scorn it.\n")
    (tmp_path / "steering.json").write_text(json.dumps(["How do I ask?", "What do I write?"]))
    made = binnacle("traits", "add", str(table), str(tmp_path / "steering.json"), "--format", "pairs", "--json")
    assert (json.loads(made.stdout)["name"], json.loads(made.stdout)["counts"]["negative"]) == ("manners", 2)
    refused = binnacle("traits", "add", str(table), "--format", "caa")
    assert "not of the format caa" in " ".join(refused.stderr.split())


def test_a_csv_table_in_a_folder_is_sent_only_if_it_holds_pairs(client: Client, folder: Path, tmp_path: Path) -> None:
    """The ending may be in capitals; a table of something else is named and left out."""
    tables = tmp_path / "manners"
    tables.mkdir()
    (tables / "pairs.CSV").write_text("positive,negative\nThank them.,Snub them.\nPraise it.,Scorn it.\n")
    (tables / "steering.json").write_text(json.dumps(["How do I ask?", "What do I write?"]))
    assert client.add_trait(tables)["counts"]["positive"] == 2
    (folder / "results.csv").write_text("run,score\n1,2\n")
    notes: list[str] = []
    assert client.add_trait(folder, on_note=notes.append)["counts"]["positive"] == 2
    assert notes == ["Not sent, because they are not files of a trait: notes.md, results.csv."]


def test_files_with_the_same_name_and_folder_name_do_not_collide(client: Client, tmp_path: Path) -> None:
    files = [tmp_path / place / "x" / "p.jsonl" for place in ("a", "b")] + [tmp_path / "c" / "d" / "b-x-p.jsonl"]
    for file in files:
        file.parent.mkdir(parents=True)
        rows = [{"positive": f"{file.parts[-3]} good {i}", "negative": f"{file.parts[-3]} bad {i}"} for i in range(2)]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    steering = tmp_path / "steering.json"
    steering.write_text(json.dumps(["How do I ask?", "What do I write?"]))
    made = client.add_trait([*files, steering, steering], "both")
    assert made["counts"]["positive"] == 6


def test_an_upload_whose_answer_is_lost_makes_one_trait(far: Client, wire: Wire) -> None:
    wire.faults = [lost_answer()]
    made = far.add_trait(trait_folder("refusal"), "mine")
    assert wire.faults == []
    assert [one["id"] for one in far.traits(name="mine")] == [made["id"]]


def test_a_path_or_file_that_is_not_a_trait_is_refused(client: Client, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BinnacleError, match="is not a folder"):
        client.add_trait(tmp_path / "absent")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    for source in (tmp_path / "round", [folder / "positive.txt", tmp_path / "round"]):
        with pytest.raises(BinnacleError, match=r"leads to itself|is not a"):  # the second from Python 3.13 on
            client.add_trait(source)
    with pytest.raises(BinnacleError, match="cannot be read"):
        client.add_trait("a\x00b")
    (folder / "negative.txt").write_bytes(b"\xff")
    with pytest.raises(ServiceError, match="is not UTF-8"):
        client.add_trait(folder)


def test_a_file_of_vectors_is_imported(client: Client, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((2, 64), np.float32))
    items = client.import_vectors(tmp_path / "v.npy", "demo", layers=[1, 2], method="mine", trait="refusal")
    assert [(one["layer"], one["method"], one["norm"]) for one in items] == [(1, "mine", 8.0), (2, "mine", 8.0)]


def test_traits_on_the_command_line(binnacle: Cli, folder: Path) -> None:
    added = binnacle("traits", "add", str(folder))
    assert added.returncode == 0, added.stderr
    assert "politeness@" in added.stdout
    assert "had no cluster" in added.stderr
    assert "Not sent, because they are not files of a trait: notes.md." in " ".join(added.stderr.split())
    listed = read(binnacle("traits", "list", "--json"))
    assert listed[0]["name"] == "politeness"
    assert "refusal@" in binnacle("traits", "list").stdout
    assert read(binnacle("traits", "show", "politeness", "--json"))["counts"]["negative"] == 2
    refused: subprocess.CompletedProcess[str] = binnacle("traits", "add", str(folder.parent / "none"))
    assert (refused.returncode, "is not a folder" in refused.stderr) == (1, True)


@pytest.mark.parametrize("name", ["missing.npy", "missing.pt", "a\x00b.npy", "."])
def test_a_file_that_cannot_be_read_is_named_in_one_sentence(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(BinnacleError, match="cannot be read") as refused:
        client.import_vectors(tmp_path / name, "no-such-model", layers=[1])
    assert refused.value.code == "unreadable_file"
    assert "\n" not in refused.value.detail


@pytest.mark.parametrize("name", ["v.npy", "v.pt"])
def test_an_empty_file_of_vectors_is_named_in_one_sentence(client: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BinnacleError, match=r"is empty\.") as refused:
        client.import_vectors(tmp_path / name, "demo", layers=[1])
    assert refused.value.detail == f"{tmp_path / name} is empty."


def test_the_example_trait_story_refusal_uploads_without_warnings(client: Client) -> None:
    made = client.add_trait(Path(__file__).parents[2] / "examples" / "story-refusal")
    counts = made["counts"]
    assert (counts["positive"], counts["negative"], counts["selection"], counts["test"]) == (59, 60, 24, 44)
    assert counts["clusters"]["test"] == 22
    assert made["warnings"] == []
