"""What is known of domains beyond their grammar: A-labels (UTS #46) and the public suffix list."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import idna
from publicsuffixlist import PSLFILE, PublicSuffixList

# Platforms on which anyone gets a host name, and which the list lacks, in the list's own form: tunnels, development
# environments, previews and hosting.
_MISSING_SUFFIXES = (
    "localhost.run", "lhr.life", "lhrtunnel.link", "loca.lt", "localtunnel.me", "loclx.io", "packetriot.net",
    "pagekite.me", "pinggy.link", "pinggy.online", "playit.gg", "serveo.net", "serveousercontent.com",
    "sharedwithexpose.com", "tunnelto.dev", "share.zrok.io", "*.devtunnels.ms",
    "app.github.dev", "preview.app.github.dev", "c9users.io", "codeanyapp.com", "codesandbox.io", "csb.app",
    "gitpod.io", "*.gitpod.io", "*.cloudworkstations.dev", "e2b.dev", "glitch.me", "stackblitz.io", "webcontainer.io",
    "*.webcontainer.io",
    "adaptable.app", "*.azurecontainerapps.io", "cyclic.app", "edgeone.app", "googleusercontent.com", "gradio.live",
    "koyeb.app", "modal.run", "squarespace.com", "static.app", "tiiny.site", "wordpress.com",
)  # fmt: skip


def to_ascii(domain: str) -> str:
    """The A-label form of a domain. Raises ValueError (idna.IDNAError) for one that has none."""
    trailing_dot = "." if domain.endswith(".") else ""
    # Labels that IDNA does not know, such as _dmarc, are legal in an origin.
    labels = [_label_to_ascii(label) for label in domain.rstrip(".").split(".")]
    return ".".join(labels) + trailing_dot


def is_public_suffix(domain: str) -> bool:
    """Whether strangers can register names under `domain`, directly or under a public suffix below it.

    `*.amazonaws.com` would allow every bucket under s3.amazonaws.com. An unknown top-level domain counts as a suffix.
    """
    return bool(_public_suffixes().is_public(domain)) or domain in _parents_of_suffixes()


def _label_to_ascii(label: str) -> str:
    if not label.isascii():
        return idna.encode(label, uts46=True).decode("ascii")
    label = label.lower()
    if label.startswith("xn--"):
        # By UTS #46, as browsers do it: IDNA 2008 would reject registered names such as those with an emoji.
        text = label[4:].encode().decode("punycode")
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
        if text.isascii() or mapped != text or text.encode("punycode").decode() != label[4:]:
            raise ValueError(f"{label} is not an A-label")
    return label


@cache
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList(_rules())


@cache
def _rules() -> tuple[str, ...]:
    return (*Path(PSLFILE).read_text(encoding="utf-8").splitlines(), *_MISSING_SUFFIXES)


@cache
def _parents_of_suffixes() -> frozenset[str]:
    parents: set[str] = set()
    for line in _rules():
        rule = line.split(maxsplit=1)[0] if line.strip() else ""
        if rule and not rule.startswith(("//", "!")):
            labels = rule.split(".")[1:]
            parents.update(".".join(labels[index:]) for index in range(len(labels)))
    return frozenset(parent for parent in parents if parent.isascii())
