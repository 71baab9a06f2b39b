"""No command that our pages tell people to type shows a secret: the arguments of a program are every account's to read (`ps`)."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "binnacle" / "README.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "bash"}
HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?.*?^\1$", re.MULTILINE | re.DOTALL)

LITERAL = re.compile(
    r"bn[kl]_[\w.]+|Bearer [\w$]|://[^/\s'\"]*:[^/\s'\"]+@|hooks\.slack\.com/\S|[?&]secret_access_key=|--(password|token|secret|api-key|requirepass)\b"
    r"|\b(PGPASSWORD|\w*_(?:PASSWORD|TOKEN|PEPPER|SECRET))=[^\s$]"
)
"""A secret that is typed: it is in the shell's history too."""
EXPANDED = re.compile(
    r"\$\{?\w*(KEY|PASSWORD|SECRET|TOKEN|PEPPER|PGURL|DATABASE_URL|BROKER_URL|STORAGE_URL)\b"
    r"|\$\(\s*(cat|<)[^)]*(key|secret|password|pepper|token|\.env)[^)]*\)",
    re.IGNORECASE,
)
"""A secret that the shell puts in."""
STARTS_NO_PROGRAM = re.compile(
    r"(?:export\s+|local\s+|declare\s+)?(?:\w+=(?:\"[^\"]*\"|'[^']*'|\$\([^)]*\)|[^\s\"'])*(?:\s+|$))+"
)
BUILTIN = re.compile(r"(echo|printf|\.|source|umask|test|\[)\s")


def commands(text: str) -> Iterator[str]:
    """The commands of a shell block: no comments, no here-documents, continued lines joined, lists taken apart."""
    text = re.sub(r"(^|\s)#(?![^\s]*\").*$", "", HERE_DOCUMENT.sub("", text).replace("\\\n", " "), flags=re.MULTILINE)
    for line in text.splitlines():
        body = re.sub(r"^\w+\(\) \{|\}$", "", line.strip())
        yield from (part.strip() for part in re.split(r"&&|\|\||;|(?<!\\)\|", body) if part.strip())


def secret_in(command: str) -> str:
    """Returns the part of the command that would show a secret to other accounts; empty if there is none."""
    literal = LITERAL.search(command)
    starts = not (STARTS_NO_PROGRAM.fullmatch(command) or BUILTIN.match(command))
    expanded = EXPANDED.search(command) if starts else None
    return (literal or expanded or [""])[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_of_a_page_shows_a_secret(page: Path) -> None:
    blocks = [text for language, text in BLOCK.findall(page.read_text()) if language in SHELL]
    assert [(found, command) for text in blocks for command in commands(text) if (found := secret_in(command))] == []


def test_files_of_secrets_that_a_page_writes_are_readable_by_their_owner_alone() -> None:
    """A redirection makes a file for everybody unless the umask says otherwise."""
    written = re.compile(r">\s*\S*(key|secret|header|pass|\.env|dump)\S*|--file=\S*dump|\bcp \.env", re.IGNORECASE)
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text()):
            if language in SHELL and (found := written.search(text)):
                assert "umask 077" in text[: found.start()], f"{page.name}: {found[0]}"


@pytest.mark.parametrize(
    "command",
    [
        'curl --header "Authorization: Bearer $BINNACLE_KEY" http://127.0.0.1:8000',
        'api() { curl --silent --header "X-Key: ${BINNACLE_KEY}" "$@"; }',
        'pg_dump --file=binnacle.dump "$PGURL"',
        "psql postgresql://binnacle:hunter2@db/binnacle",
        'BINNACLE_KEY=$(cat admin.key) curl --header "X: $(cat ~/.binnacle/admin.key)" lab',
        "valkey-server --requirepass hunter2",
        "export STORAGE_URL='s3://b?access_key_id=a&secret_access_key=b'",
        "binnacle webhooks add room https://hooks.slack.com/services/T0/B0/X",
    ],
)
def test_what_shows_a_secret_is_found(command: str) -> None:
    assert any(secret_in(one) for one in commands(command))


@pytest.mark.parametrize(
    "command",
    [
        "export BINNACLE_KEY=$(cat ~/.binnacle/admin.key)",
        "printf 'Authorization: %s' \"$BINNACLE_KEY\" > file",
        'curl --header @"$HEADER" "$BINNACLE_URL/v1/jobs"',
        "cat > file <<'END'\ndb:5432:*:binnacle:PASSWORD\npostgresql://a:b@c\nEND\n",
        "binnacle keys list   # a key reads bnk_abc",
    ],
)
def test_a_command_that_shows_none_is_allowed(command: str) -> None:
    assert not any(secret_in(one) for one in commands(command))
