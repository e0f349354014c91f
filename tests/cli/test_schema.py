"""The published JSON Schema of a tenant's file: it accepts what the command line reads, and refuses what it can see."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from corspolicy.core.policy import SETTINGS
from policy_service.cli.gitops.schema import SCHEMA
from tests.service.helpers import FULL


def test_it_is_a_schema_of_every_setting() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["policies"]["additionalProperties"]["properties"].keys() == set(SETTINGS)


@pytest.mark.parametrize(
    "values",
    [
        {"tenant": "acme", "policies": {}},
        {"tenant": "acme", "name": "Acme", "policies": {"default": None, "billing": {}, "a.b_c": FULL}},
    ],
)
def test_it_accepts_what_is_read(values: Any) -> None:
    jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize(
    "values",
    [
        {"tenant": "acme"},
        {"policies": {}},
        {"tenant": "Acme", "policies": {}},
        {"tenant": "acme", "polices": {}, "policies": {}},
        {"tenant": "acme", "policies": {"Billing": {}}},
        {"tenant": "acme", "policies": {"default": {"max_agee": 1}}},
        {"tenant": "acme", "policies": {"default": {"max_age": 86401}}},
        {"tenant": "acme", "policies": {"default": {"allow_credentials": "yes"}}},
        {"tenant": "acme", "policies": {"default": {"allow_origins": "https://a.example.com"}}},
        {"tenant": "acme", "policies": {"default": {"allow_origins": [{"patern": "https://a.example.com"}]}}},
    ],
)
def test_it_refuses_what_is_not(values: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)
