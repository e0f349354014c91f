"""Whatever `core/policy.py` declares is a setting everywhere: checked, stored, shown, told apart, documented."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from corspolicy.core.policy import SETTINGS, Flag, Kind, Names, Number, Origins, Policy
from corspolicy.core.validation import check
from policy_service.cli.gitops.files import Tenant, stored
from policy_service.cli.gitops.plan import edits
from policy_service.cli.gitops.schema import SCHEMA
from policy_service.documents.build import build_policy
from policy_service.documents.difference import compare
from policy_service.documents.model import StoredDocument, StoredPolicy
from policy_service.documents.schemas import POLICY_BODY, READ_ONLY
from policy_service.http.examples import EXAMPLES
from policy_service.policies.schemas import PolicyView
from tests.support import Api

FILE_SETTINGS = SCHEMA["properties"]["policies"]["additionalProperties"]["properties"]
EMPTY = StoredDocument(policies={"default": StoredPolicy()})


def _value(name: str) -> Any:
    """A valid value of a setting, as JSON, that is not its default."""
    match SETTINGS[name].kind:
        case Origins():
            return ["https://a.example.com"]
        case Names():
            return ["x-name"]
        case Flag():
            return not SETTINGS[name].default
        case Number(maximum):
            return maximum // 2


def _invalid(kind: Kind) -> list[Any]:
    match kind:
        case Number(maximum):
            return ["x", 0.5, True, -1, maximum + 1]
        case Flag():
            return ["x", 0, None, []]
        case Names() | Origins():
            return ["x", 0, None, [0], [" "]]


def _words(name: str) -> str:
    """What a difference calls the setting, or what is in it."""
    match SETTINGS[name].kind:
        case Flag(label):
            return label or name
        case Number():
            return name
        case Names() | Origins():
            return str(_value(name)[0])


def _policy(name: str) -> Policy:
    checked = check({name: _value(name)})
    assert checked.policy is not None, checked.errors
    return checked.policy


def _document(name: str) -> StoredDocument:
    return StoredDocument(policies={"default": build_policy({name: _value(name)}, None, "somebody")[0]})


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_read_and_written_back(name: str) -> None:
    policy = _policy(name)
    assert getattr(policy, name) != getattr(Policy(), name)
    assert policy.to_json() == {"allow_origins": [], name: _value(name)}
    assert check(policy.to_json()).policy == policy
    assert check(Policy().to_json()).policy == Policy()


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_not_valid_is_rejected_by_check_and_what_is_not_of_its_type_by_the_schemas(name: str) -> None:
    for value in _invalid(SETTINGS[name].kind):
        checked = check({name: value})
        assert checked.policy is None, value
        assert checked.errors[0].pointer.startswith(f"/{name}")
    for schema in (POLICY_BODY["properties"][name], FILE_SETTINGS[name]):
        jsonschema.validate(_value(name), schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({}, schema)


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_stored_and_published(name: str) -> None:
    document = _document(name)
    assert StoredDocument.model_validate(document.model_dump(mode="json")) == document
    assert document.policies["default"].to_policy() == _policy(name)
    assert EMPTY.policies["default"].to_policy() == Policy()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_change_of_it_is_a_difference_in_words_and_as_data(name: str) -> None:
    document = _document(name)
    for before, after in ((EMPTY, document), (document, EMPTY)):
        (difference,) = compare(before, after, datetime.now(UTC))
        assert (difference.policy, difference.field) == ("default", name)
        assert difference.before != difference.after
        assert _words(name) in difference.words


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_kept_in_a_file_and_planned(name: str) -> None:
    wanted = stored(_document(name).model_dump(mode="json")["policies"]["default"])
    assert wanted == {name: _value(name)}
    (edit,) = edits(Tenant("", {"default": {}}), Tenant("", {"default": wanted}))
    assert (edit.policy, edit.setting) == ("default", name)


def test_the_schemas_and_the_example_have_every_setting_and_no_other() -> None:
    shown = TypeAdapter(PolicyView).json_schema(mode="serialization")["properties"]
    assert list(POLICY_BODY["properties"]) == list(FILE_SETTINGS) == list(SETTINGS)
    assert shown.keys() == EXAMPLES["PolicyView"].keys() == SETTINGS.keys() | READ_ONLY
    assert [field.name for field in fields(StoredPolicy)] == list(SETTINGS)
    for name, setting in SETTINGS.items():
        for schema in (POLICY_BODY["properties"], FILE_SETTINGS, shown):
            assert schema[name]["description"] == setting.description != ""


def test_the_service_shows_what_was_put(shared_api: Api) -> None:
    tenant = shared_api.new_tenant()
    values = {name: _value(name) for name in SETTINGS}
    assert shared_api.put_policy(tenant, values, "billing").status_code == 201
    shown = shared_api.http.get(f"/v1/tenants/{tenant}/policies/billing").json()
    assert shown.keys() == SETTINGS.keys() | READ_ONLY
    assert stored(shown) == values
