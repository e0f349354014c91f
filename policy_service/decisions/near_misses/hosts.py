"""Hosts that are often taken for one another."""

from __future__ import annotations

from typing import NamedTuple

from policy_service.documents.domains import is_public_suffix

MAX_PARENTS = 5
MAX_PREVIEWS = 20

_LOOPBACK = (b"localhost", b"127.0.0.1", b"[::1]", b"0.0.0.0")
# Each gives a site's previews hosts of their own beside the site's. Elsewhere under a public suffix, a host with a
# similar name belongs to somebody else.
_PREVIEW_PLATFORMS = (
    b"azurestaticapps.net",
    b"netlify.app",
    b"onrender.com",
    b"railway.app",
    b"vercel.app",
    b"web.app",
)


class Difference(NamedTuple):
    """How two origins differ: a code, and the same in words. `is_malformed`: no browser sends the one that was sent."""

    code: str
    words: str
    is_malformed: bool = False


WWW = Difference("www", "with and without `www.` are different origins")
SUBDOMAIN = Difference("subdomain", "an entry for a domain does not allow its subdomains")
APEX = Difference("apex", "`*.` matches subdomains, not the domain itself")
LOOPBACK = Difference("loopback", "to browsers, localhost, 127.0.0.1, [::1] and 0.0.0.0 are different origins")
PREVIEW = Difference("preview", "the host looks like a preview of that site, which is a different origin")


def similar_hosts(host: bytes) -> list[tuple[bytes, Difference]]:
    """The hosts that `host` is often taken for, each with the difference."""
    labels = host.split(b".")
    bare = host.removeprefix(b"www.")
    found = [(name, LOOPBACK) for name in _LOOPBACK if host in _LOOPBACK and name != host]
    found += [(b"any-subdomain." + host, APEX), (bare if bare != host else b"www." + host, WWW)]
    found += [(site, PREVIEW) for site in _previewed(labels[0], b".".join(labels[1:]))]
    found += [(b".".join(labels[index:]), SUBDOMAIN) for index in range(1, min(len(labels), MAX_PARENTS + 1))]
    return found


def _previewed(label: bytes, parent: bytes) -> list[bytes]:
    """The sites that a host may be a preview of: `shop` for `deploy-preview-12--shop`, `shop-git-main-acme`."""
    if b"-" not in label or not parent:
        return []
    if not parent.endswith(_PREVIEW_PLATFORMS) and is_public_suffix(parent.decode()):
        return []
    words = label.split(b"-")
    starts = (b"-".join(words[:index]) for index in range(len(words) - 1, 0, -1))
    ends = (b"-".join(words[index:]) for index in range(1, len(words)))
    names = dict.fromkeys(name for name in (*ends, *starts) if name and name[:1] != b"-" and name[-1:] != b"-")
    return [name + b"." + parent for name in names][:MAX_PREVIEWS]
