"""Opens a model folder's tokenizer so that it gives the same ids as the folder's tokenizer.json.

The library rebuilds tokenizer classes that it knows with the pre-tokenizer of the class, not of the file. So its ids are compared with those of
the `tokenizers` package on the file itself, and where they differ the file's ids are used. A chat template in chat_template.json, which the
library reads for processors only, is used too.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from terms.values import Json
from workers.lm.checkpoint import quiet
from workers.lm.errors import ModelFault
from workers.lm.folder import TOKENIZER_MODELS
from workers.lm.jsonfile import read_json

PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "two  blanks, three   blanks,     five",
    " one blank before and one after ",
    "line\nline\n\nparagraph\n\n\nthree\r\nwindows\ttab\t\ttabs",
    "\n\n1. Apples\n2. Pears\n10. Plums",
    "    4 spaces 42\n        8 spaces 1984",
    "1234567890 3.14159 1,000,000 2026-11-27 0x1F",
    "I'm you're they'll DON'T We'VE it's",
    "CAPITALS and MixedCase and camelCaseWords and SHOUTING!!!",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m stra\u00dfe",
    "cafe\u0301 in two characters",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u3053\u3093\u306b\u3061\u306f \u0917\u0941\u0930\u0941 \u0645\u0631\u062d\u0628\u0627",
    "\U0001f600\U0001f469\u200d\U0001f4bb \u2764\ufe0f ok",
    "def f(x):\n    return {'a': [x**2, -1]}  # why?\n",
    "<b>html</b> &amp; https://example.org/a_b?c=1#d",
    "",
)
MOST_ADDED = 64  # added tokens that are tested: some tokenizers reserve thousands
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTED = ("additional_special_tokens", "extra_special_tokens")


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, with the backend of its tokenizer.json where the library's own gives other ids. Raises ModelFault
    no_tokenizer."""
    tokenizer = library_tokenizer(folder)
    if not tokenizer.chat_template and (folder / "chat_template.json").is_file():
        tokenizer.chat_template = read_json(folder / "chat_template.json").get("chat_template")
    reference = file_backend(folder)
    if reference is not None and differences(tokenizer, reference):
        tokenizer = _with_backend(tokenizer, reference, folder)
    return tokenizer


def library_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as the library makes it. Raises ModelFault no_tokenizer."""
    with quiet(), _refusing(folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Raises ModelFault no_tokenizer for any error in loading a tokenizer from `folder`."""
    try:
        yield
    except ModelFault:
        raise
    except Exception as error:  # tokenizer files fail in many different ways
        raise ModelFault("no_tokenizer", f"The tokenizer in {folder} cannot be loaded: {str(error)[:300]}") from error


def file_backend(folder: Path) -> Tokenizer | None:
    """tokenizer.json as the `tokenizers` package reads it, without truncation and padding, with the tokens that the config files declare. None
    where the file does not exist. Raises ModelFault no_tokenizer."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises bare Exception
        raise ModelFault("no_tokenizer", f"{file} cannot be read: {str(error)[:300]}") from error
    backend.no_truncation()
    backend.no_padding()
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    with _refusing(folder):
        backend.add_tokens([token for token in _declared(folder) if token.content not in known])
    return backend


def differences(tokenizer: PreTrainedTokenizerBase, reference: Tokenizer) -> list[str]:
    """The probe texts for which the tokenizer and the file's backend give different ids, special tokens at the ends ignored."""
    return [
        text
        for text in probe_texts(reference)
        if text_ids(tokenizer, text) != reference.encode(text, add_special_tokens=False).ids
    ]


def tokenizer_sources(folder: Path) -> list[str]:
    """The files that a tokenizer without tokenizer.json is made from."""
    return [name for name in TOKENIZER_MODELS if (folder / name).is_file()]


def probe_texts(reference: Tokenizer) -> list[str]:
    """The fixed texts, and a text around each of the first MOST_ADDED added tokens."""
    added = [token.content for _, token in sorted(reference.get_added_tokens_decoder().items())]
    return [*PROBES, *(f"a {token} b{token}C 1" for token in added[:MOST_ADDED])]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The text's ids, without the special tokens that the tokenizer adds at its ends."""
    return [int(i) for i in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]


def _with_backend(tokenizer: PreTrainedTokenizerBase, reference: Tokenizer, folder: Path) -> PreTrainedTokenizerBase:
    """Puts the file's backend into the library's tokenizer, which knows the names of the special tokens. The post-processor,
    which adds the special tokens at a text's ends, stays the library's, which takes it from the file. Raises ModelFault no_tokenizer."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast):  # a class without such a backend
        template = tokenizer.chat_template
        with _refusing(folder):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        tokenizer.chat_template = template
    reference.post_processor = tokenizer.backend_tokenizer.post_processor
    tokenizer._tokenizer = reference
    for name, token in list(tokenizer._special_tokens_map.items()):
        if token is not None and reference.token_to_id(str(token)) is None:
            setattr(tokenizer, name, None)  # the class's default, a token that this model lacks
    return tokenizer


def _declared(folder: Path) -> Iterable[AddedToken]:
    """Tokens that the config files add to the file's own: first by id, then the named and the listed special tokens. Raises
    ValueError for a token that is neither a text nor an object with a text."""
    read = {name: read_json(folder / name) for name in ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")
            if (folder / name).is_file()}  # fmt: skip
    config = read.get("tokenizer_config.json", {})
    decoder = config.get("added_tokens_decoder")
    numbered = {int(i): _token(token) for i, token in (decoder.items() if isinstance(decoder, Mapping) else ())}
    for content, i in read.get("added_tokens.json", {}).items():
        if isinstance(i, (int, float)):  # the library has refused other values
            numbered.setdefault(int(i), AddedToken(content, normalized=False, special=False))
    yield from (numbered[i] for i in sorted(numbered))
    for source in (config, read.get("special_tokens_map.json", {})):
        named = [source[name] for name in _NAMED if source.get(name)]
        listed = [token for name in _LISTED for token in _values(source.get(name))]
        yield from (_token(token, special=True) for token in (*named, *listed))


def _values(listed: Json) -> list[Json]:
    if isinstance(listed, (list, dict)):
        return list(listed.values() if isinstance(listed, dict) else listed)
    if listed:
        raise ValueError(f"special tokens must be a list, and {str(listed)[:80]!r} is not one")
    return []


def _token(token: Json, special: bool = False) -> AddedToken:
    """The token that a file holds as its text, or as an object with flags."""
    if isinstance(token, str):
        return AddedToken(token, special=special, normalized=False)
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        raise ValueError(f"a special token must be a text or an object with the text content, and {str(token)[:80]!r} is neither")
    flags = {name: bool(token[name]) for name in ("single_word", "lstrip", "rstrip", "normalized") if name in token}
    return AddedToken(token["content"], special=special or bool(token.get("special")), **flags)
