"""Example responses for the OpenAPI document, by the name of their schema, all about one customer: acme."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from policy_service.documents.model import Entry, StoredDocument, StoredPolicy

_KEY_ID = "9da3f2d6ed7f"
_DOCUMENT = StoredDocument(
    name="Acme Corporation",
    policies={
        "default": StoredPolicy(
            allow_origins=[
                Entry(
                    id="5d0c3f0e-6f0b-4a53-9d5e-0c7c1a4c2b11",
                    pattern="https://app.acme.com",
                    note="the customer's front-end",
                    created_by=f"key:{_KEY_ID}",
                    created_at=datetime(2026, 5, 4, 9, 30, tzinfo=UTC),
                )
            ],
            allow_credentials=True,
            allow_methods=("PUT",),
            allow_headers=("content-type",),
            max_age=600,
        )
    },
).model_dump(mode="json")
_POLICY = _DOCUMENT["policies"]["default"]
_ENTRY = _POLICY["allow_origins"][0]
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
    "words": "https://app.acme.com allowed",
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
    "restorable": True,
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
    "all_known": True,
    "not_reporting": 0,
    "milliseconds": 12.4,
    "applied": {"count": 1, "on_demand": 0, "processes": [_REPORTING]},
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
    "AllowingPage": {
        "origin": "https://app.acme.com",
        "items": [
            {
                "tenant": "acme",
                "service": "default",
                "pattern": "https://app.acme.com",
                "expires_at": None,
                "expired": False,
            }
        ],
        "any_origin": {"count": 0, "more": False},
        "next_cursor": None,
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
        "all_known": True,
        "not_reporting": 0,
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
    "Readiness": {
        "ready": True,
        "database": True,
        "redis": True,
        "publisher": "leading",
        "unpublished": 0,
        "oldest_unpublished_seconds": None,
        "problems": [],
    },
    "Restored": {
        "tenant": "acme",
        "revision": 43,
        "difference": [_DIFFERENCE],
        "omitted": 0,
        "warnings": [],
        "document": _DOCUMENT,
    },
    "EntryView": {**_ENTRY, "revision": 42, "warnings": []},
    "KeyView": _KEY,
    "PolicyView": _SHOWN_POLICY,
    "RevisionView": {**_CHANGE, "before": {**_DOCUMENT, "policies": {}}, "after": _DOCUMENT, "compacted": False},
    "TenantView": _TENANT,
    "TenantPage": {"items": [_TENANT], "next_cursor": None},
    "ReplacedTenant": {
        "tenant": "acme",
        "name": "Acme Corporation",
        "services": ["default"],
        "revision": 42,
        "warnings": [],
    },
}
# An event of the stream of changes.
STREAM = f"id: 42\r\nevent: change\r\ndata: {json.dumps(_CHANGE)}\r\n\r\n"
