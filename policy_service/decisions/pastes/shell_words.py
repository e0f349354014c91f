"""Splits a command into words as bash, or cmd and the Windows C runtime, do."""

from __future__ import annotations

import re

from policy_service.decisions.pastes.model import Unreadable

_CONTINUATION = re.compile(r"[\\^`]\n")
_CURL = re.compile(r"curl(?:\.exe)?\s")
_QUOTE = re.compile(r"""\^?["']""")
_CARET = re.compile(r"\^(.)", re.DOTALL)
_BASH_PIECE = re.compile(
    r"""(?P<space>\s+)
      | (?P<separator>;|\|+|&&)
      | '(?P<single>[^']*)'
      | \$'(?P<ansi>(?:[^'\\]|\\.)*)'
      | "(?P<double>(?:[^"\\]|\\.)*)"
      | \\(?P<escaped>.)
      | (?P<plain>[^\s'"\\$;|&]+|[$&])""",
    re.DOTALL | re.VERBOSE,
)
_CMD_PIECE = re.compile(
    r"""(?P<space>\s+)
      | (?P<separator>&|\|)
      | "(?P<double>(?:[^"\\]|\\.|"")*)"
      | (?P<plain>[^\s"&|]+)""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}


def commands(text: str) -> list[list[str]]:
    """The words of each command in `text`. Raises Unreadable where a quote is not closed."""
    first_quote = _QUOTE.search(text)
    is_cmd = "^\n" in text or (first_quote is not None and first_quote[0] == '^"')
    text = _CONTINUATION.sub(" ", text)
    if is_cmd:
        text = _CARET.sub(r"\1", text)
    pattern = _CMD_PIECE if is_cmd else _BASH_PIECE
    found: list[list[str]] = [[]]
    word: list[str] = []
    position = 0
    while position < len(text):
        piece = pattern.match(text, position)
        if piece is None:
            raise Unreadable("The curl command has a quote that is not closed: paste all of the command.")
        position = piece.end()
        kind = str(piece.lastgroup)
        if kind not in ("space", "separator"):
            word.append(_unquoted(kind, piece[kind]))
            continue
        if word:
            found[-1].append("".join(word))
            word = []
        if kind == "separator":
            found.append([])
        elif "\n" in piece[0] and not text.startswith("-", position):
            # An option would be a line whose continuation mark was lost; what is no command is the command's output.
            if not _CURL.match(text, position):
                break
            found.append([])
    if word:
        found[-1].append("".join(word))
    return [words for words in found if words]


def unescaped(text: str) -> str:
    """The text with the escapes that ANSI-C quoting and JavaScript have in common."""
    return _ESCAPE.sub(_decoded, text)


def _unquoted(kind: str, text: str) -> str:
    match kind:
        case "ansi":
            return unescaped(text)
        case "double":
            return text.replace('\\"', '"').replace('""', '"')
    return text


def _decoded(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code else _CONTROL.get(escape[3], escape[3])
