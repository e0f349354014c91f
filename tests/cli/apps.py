"""Forty applications as people have them: what each gives to CORSMiddleware, and what has to come of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import AnyHttpUrl

SHOP, ADMIN, LOCAL = "https://shop.example.com", "https://admin.example.com", "http://localhost:5173"
PREVIEW = "https://preview-12.shop.example.com"


class Site(StrEnum):
    """Origins as settings have them."""

    SHOP = SHOP
    ADMIN = ADMIN


@dataclass(frozen=True)
class App:
    """What CORSMiddleware is given; origins of the users; the policy's patterns; whether something is left out."""

    name: str
    cors: dict[str, Any]
    origins: list[str] = field(default_factory=list)
    leaves_out: bool = False
    seeds: tuple[str, ...] = (SHOP,)


def _regex(name: str, expression: Any, origins: list[str], *seeds: str, leaves_out: bool = False, **more: Any) -> App:
    return App(name, {"allow_origin_regex": expression, **more}, origins, leaves_out, seeds or (SHOP,))


ANY_METHOD: dict[str, Any] = {"allow_methods": ["*"], "allow_headers": ["*"]}
WITH_COOKIES: dict[str, Any] = {**ANY_METHOD, "allow_credentials": True}

LISTS = [
    App("one site", {"allow_origins": [SHOP]}, [SHOP]),
    App("sites with cookies", {"allow_origins": (SHOP, ADMIN), **WITH_COOKIES}, [SHOP, ADMIN]),
    App("a front-end in development", {"allow_origins": {LOCAL, SHOP}, **WITH_COOKIES}, [LOCAL, SHOP], seeds=(LOCAL,)),
    App("everyone", {"allow_origins": ["*"], **ANY_METHOD}, ["*"]),
    App("everyone with cookies", {"allow_origins": ["*"], **WITH_COOKIES}, [], leaves_out=True),
    App("everyone and a site with cookies", {"allow_origins": ["*", SHOP], **WITH_COOKIES}, [SHOP], leaves_out=True),
    App("nobody", {"allow_origins": []}, []),
    App("a slash too many", {"allow_origins": [f"{SHOP}/", ADMIN]}, [ADMIN], seeds=(SHOP, ADMIN)),
    App("a wildcard that is none", {"allow_origins": ["https://*.example.com", SHOP]}, [SHOP]),
    App("an unset variable", {"allow_origins": [None, SHOP], **WITH_COOKIES}, [SHOP]),
    App("addresses of a library", {"allow_origins": [AnyHttpUrl(SHOP), ADMIN]}, [ADMIN], seeds=(SHOP, ADMIN)),
    App("an enumeration", {"allow_origins": list(Site)}, [SHOP, ADMIN]),
    App("a text", {"allow_origins": SHOP, **WITH_COOKIES}, [SHOP], leaves_out=True, seeds=(SHOP, SHOP[:-1], SHOP[:-4])),
    App("a text of several", {"allow_origins": f"{SHOP}, {ADMIN}"}, [SHOP, ADMIN], leaves_out=True),
    App("a text for everyone", {"allow_origins": "*", "allow_methods": "*", "allow_headers": "*"}, ["*"]),
    App("a sandbox", {"allow_origins": ["null", SHOP], **ANY_METHOD}, [SHOP], leaves_out=True),
    App("plain http with cookies", {"allow_origins": ["http://shop.example.com"], **WITH_COOKIES}, ["http://shop.example.com"],
        seeds=("http://shop.example.com",)),
    App("a desktop app", {"allow_origins": ["app://.", "capacitor://localhost"], **WITH_COOKIES}, ["app://.", "capacitor://localhost"],
        seeds=("app://.", "capacitor://localhost")),
    App("an odd host", {"allow_origins": ["http://a!b.example.com", SHOP]}, [SHOP], leaves_out=True,
        seeds=("http://a!b.example.com", SHOP)),
    App("letters of methods", {"allow_origins": [SHOP], "allow_methods": "PUT", "allow_headers": "X-Token"}, [SHOP]),
    App("lower-case methods", {"allow_origins": [SHOP], "allow_methods": ["get", "put", "patch"]}, [SHOP]),
    App("every header readable", {"allow_origins": [SHOP], "expose_headers": ["*"], **WITH_COOKIES}, [SHOP],
        leaves_out=True),
    App("a readable token", {"allow_origins": [SHOP], "expose_headers": ["Authorization", "X-Total"], **WITH_COOKIES},
        [SHOP]),
    App("no max_age", {"allow_origins": [SHOP], "max_age": None, **ANY_METHOD}, [SHOP]),
]  # fmt: skip

EXPRESSIONS = [
    _regex("subdomains", r"https://.*\.example\.com", ["https://*.example.com"], SHOP, "https://a.b.example.com"),
    _regex("subdomains or none", r"^https://(.+\.)?example\.com$", ["https://*.example.com", "https://example.com"],
           SHOP, "https://example.com", **WITH_COOKIES),
    _regex("subdomains label by label", r"https://([a-z0-9-]+\.)*example\.com", ["https://*.example.com", "https://example.com"],
           SHOP, "https://example.com", **WITH_COOKIES),
    _regex("label by label, and one that is left out", r"https://(([a-z0-9-]+\.)+example\.com|[a-z]+\.example\.org)",
           ["https://*.example.com"], SHOP, "https://shop.example.org", leaves_out=True),
    _regex("labels of letters", r"https://([a-z]+\.)+example\.com", [], SHOP, leaves_out=True, **WITH_COOKIES),
    _regex("one label", r"https://[a-z0-9-]+\.example\.com", [], leaves_out=True),
    _regex("a compiled one", re.compile(r"https://(Shop|admin)\.Example\.com", re.IGNORECASE), [SHOP, ADMIN]),
    _regex("any case", r"(?i)HTTPS://SHOP\.EXAMPLE\.COM", [SHOP]),
    _regex("this machine", r"https?://(localhost|127\.0\.0\.1)(:\d+)?/?",
           ["http://127.0.0.1:*", "http://localhost:*", "https://127.0.0.1:*", "https://localhost:*"],
           LOCAL, "https://127.0.0.1:8443", "http://[::1]:3000", **WITH_COOKIES),
    _regex("a port is needed", r"http://localhost:\d+", [], LOCAL, leaves_out=True),
    _regex("everyone by an expression", "^.*$", ["*"], **ANY_METHOD),
    _regex("previews", r"https://preview-[a-z0-9-]+\.shop\.example\.com", ["https://preview-*.shop.example.com"],
           PREVIEW),
    _regex("previews of anything", r"https://preview-.*\.shop\.example\.com", ["https://preview-*.shop.example.com"],
           PREVIEW, "https://preview-a.b.shop.example.com", leaves_out=True, **WITH_COOKIES),
    _regex("one covers another", rf"{re.escape(SHOP)}|https://.*\.example\.com", ["https://*.example.com"]),
    _regex("one that is left out", r"https://(shop|[a-z]{4,9})\.example\.com|https://.*\.example\.org",
           ["https://*.example.org", SHOP], SHOP, "https://a.example.org", leaves_out=True),
    _regex("dots", "https://shop.example.com", [SHOP], SHOP, "https://shopxexample.com", leaves_out=True,
           **WITH_COOKIES),
    _regex("a glob", "https://*.example.com", [], SHOP, "https://xexample.com", "https://example.com", leaves_out=True),
    _regex("doubled backslashes", r"^https://.*\\.example\\.com$", [], **WITH_COOKIES),
    _regex("a domain at the end", r"https://.*example\.com", ["https://*.example.com", "https://*example.com", "https://example.com"],
           SHOP, "https://evilexample.com", leaves_out=True),
    _regex("a lookahead", r"https://(?!evil).*\.example\.com|https://example\.org", ["https://example.org"],
           SHOP, "https://evil.example.com", "https://example.org", leaves_out=True),
    _regex("extensions", r"moz-extension://[^/]+", ["moz-extension://*:*"], "moz-extension://6a1f-2b"),
    _regex("an extension's key", r"chrome-extension://[a-p]{32}", [], f"chrome-extension://{'a' * 32}",
           leaves_out=True),
]  # fmt: skip

APPS = [*LISTS, *EXPRESSIONS]
