"""Examples of answers for the OpenAPI document, by the name of their schema: one customer, acme, all through."""

from __future__ import annotations

import json
from typing import Any

_KEY_ID = "9da3f2d6ed7f"
_ENTRY = {
    "id": "5d0c3f0e-6f0b-4a53-9d5e-0c7c1a4c2b11",
    "pattern": "https://app.acme.com",
    "note": "the customer's front-end",
    "expires_at": None,
    "created_by": f"key:{_KEY_ID}",
    "created_at": "2026-05-04T09:30:00Z",
}
_POLICY = {
    "allow_origins": [_ENTRY],
    "allow_credentials": True,
    "allow_methods": ["PUT"],
    "allow_headers": ["content-type"],
    "expose_headers": [],
    "max_age": 600,
    "dangerously_allow_insecure_origins": False,
    "dangerously_allow_public_suffixes": False,
}
_DOCUMENT = {"name": "Acme Corporation", "policies": {"default": _POLICY}}
_SHOWN_POLICY = {**_POLICY, "tenant": "acme", "service": "default", "revision": 42, "warnings": []}
_TENANT = {
    "tenant": "acme",
    "name": "Acme Corporation",
    "services": ["default"],
    "revision": 42,
    "created_at": "2026-05-04T09:00:00Z",
    "policies": None,
}
_DIFFERENCE = {
    "words": "https://app.acme.com admitted",
    "op": "add",
    "policy": "default",
    "field": "allow_origins",
    "before": None,
    "after": _ENTRY,
}
_CHANGE = {
    "tenant": "acme",
    "revision": 42,
    "changed_at": "2026-05-04T09:30:00Z",
    "actor": f"key:{_KEY_ID}",
    "subject": "alice@acme.com",
    "action": "origin.add",
    "reason": "the new front-end",
    "difference": [_DIFFERENCE],
    "omitted": 0,
}
_REPORTING = {
    "id": "0f8b7c66",
    "host": "billing-7d9f",
    "process": 17,
    "services": ["billing"],
    "reported_at": "2026-05-04T09:30:00.120000Z",
}
_PROPAGATION = {
    "revision": 42,
    "complete": True,
    "published": True,
    "milliseconds": 12.4,
    "applied": {"count": 1, "processes": [_REPORTING]},
    "pending": {"count": 0, "processes": []},
    "rejected": {"count": 0, "processes": []},
    "preflights_cached_until": None,
}
_KEY = {
    "id": _KEY_ID,
    "role": "tenant",
    "tenants": ["acme"],
    "may_write": True,
    "description": "Acme's back office",
    "state": "active",
    "created_by": "key:41b0c7aa90de",
    "created_at": "2026-05-04T09:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "replaced_by": None,
    "last_used_at": "2026-05-04T09:30:00Z",
}

EXAMPLES: dict[str, Any] = {
    "Alive": {"status": "ok"},
    "Explanation": {
        "allowed": False,
        "reason": "origin_not_allowed",
        "message": "https://app.acme.com is allowed, http://app.acme.com is not: different scheme. Open the page at "
        "https://app.acme.com, or allow http://app.acme.com as well, if intended.",
        "decided_on": {
            "read_from": None,
            "method": "OPTIONS",
            "origin": "http://app.acme.com",
            "requested_method": "PUT",
            "requested_headers": None,
        },
        "policy": None,
        "pattern": None,
        "status": 403,
        "headers": [["vary", "Origin"]],
        "revision": 42,
        "near_misses": [
            {
                "differences": ["scheme"],
                "message": "https://app.acme.com is allowed, http://app.acme.com is not: different scheme. Open the "
                "page at https://app.acme.com, or allow http://app.acme.com as well, if intended.",
                "origin": "https://app.acme.com",
                "policy": {"tenant": "acme", "service": "default"},
                "pattern": "https://app.acme.com",
            }
        ],
    },
    "ChangePage": {"items": [_CHANGE], "next_cursor": None},
    "CreatedKey": {**_KEY, "last_used_at": None, "key": f"cpk_{_KEY_ID}_" + 72 * "0"},
    "DryRun": {
        "dry_run": True,
        "tenant": "acme",
        "revision": 41,
        "difference": [_DIFFERENCE],
        "omitted": 0,
        "problems": [],
        "warnings": [],
        "document": _DOCUMENT,
    },
    "Enforced": {"revision": 42, "propagation": _PROPAGATION},
    "EntryPage": {"items": [_ENTRY], "next_cursor": None},
    "Fleet": {
        "cursor": "1777887000120-0",
        "processes": [
            {
                "id": _REPORTING["id"],
                "host": _REPORTING["host"],
                "process": _REPORTING["process"],
                "version": "0.1.0",
                "services": ["billing"],
                "started_at": 1777880000.5,
                "ready": True,
                "age": 0.4,
                "revision": 42,
                "cursor": "1777887000120-0",
                "epoch": "c3b7f2a1",
                "digest": "5f1d7a84db5d2f0c",
                "tenants": 250,
                "complete": True,
                "rejections": {},
                "denied": {"origin_not_allowed": 3},
                "state": "current",
                "lag": 0.0,
            }
        ],
    },
    "KeyPage": {"items": [_KEY], "next_cursor": None},
    "PolicyPage": {"items": [_SHOWN_POLICY]},
    "ProblemDetails": {
        "type": "urn:corspolicy:problem:invalid-policy",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "Nothing was changed: see errors.",
        "errors": [
            {
                "code": "origin_path",
                "pointer": "/allow_origins/0",
                "detail": "An origin has no path.",
                "suggestion": "https://app.acme.com",
            }
        ],
    },
    "Propagation": _PROPAGATION,
    "Readiness": {"ready": True, "database": True, "redis": True, "publisher": "leading", "unpublished": 0},
    "Restored": {
        "tenant": "acme",
        "revision": 43,
        "difference": [_DIFFERENCE],
        "omitted": 0,
        "warnings": [],
        "document": _DOCUMENT,
    },
    "ShownEntry": {**_ENTRY, "revision": 42, "warnings": []},
    "ShownKey": _KEY,
    "ShownPolicy": _SHOWN_POLICY,
    "ShownRevision": {**_CHANGE, "before": {**_DOCUMENT, "policies": {}}, "after": _DOCUMENT},
    "ShownTenant": _TENANT,
    "TenantPage": {"items": [_TENANT], "next_cursor": None},
    "WrittenTenant": {
        "tenant": "acme",
        "name": "Acme Corporation",
        "services": ["default"],
        "revision": 42,
        "warnings": [],
    },
}
# An event of the stream of changes.
STREAM = f"id: 42\r\nevent: change\r\ndata: {json.dumps(_CHANGE)}\r\n\r\n"
