import json
from pathlib import Path

import pytest

from mcpserver.settings import ApiSettings, Settings, flags_of, make_apis, read_apis, variables_of
from toolwright.errors import ConfigError


def test_settings_of_apis_survive_the_way_through_flags() -> None:
    apis = ApiSettings(base_url="https://x.example.com", headers=(("X-Key", "${KEY}"),), allow_private=True, retries=0)
    flags = flags_of(Settings(apis=apis))
    assert read_apis(flags[flags.index("--apis") + 1]) == apis
    assert "--apis" not in flags_of(Settings())
    assert variables_of(apis) == ["KEY"]


def test_settings_of_apis_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "apis.json"
    path.write_text(json.dumps({"llm_url": "http://localhost:8000/v1", "timeout_s": 3}))
    assert read_apis(str(path)) == ApiSettings(llm_url="http://localhost:8000/v1", timeout_s=3.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_ur": "x"}, 'did you mean "base_url"'),
        ({"base_url": 7}, "expected a text"),
        ({"headers": {"a": 1}}, "object of texts"),
        ({"allow_private": "yes"}, "true or false"),
        ({"timeout_s": -1}, "0 or more"),
        ([], "expected an object"),
    ],
)
def test_a_wrong_setting_is_named(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_apis(values)


def test_text_that_is_neither_json_nor_a_file_is_named() -> None:
    with pytest.raises(ConfigError, match="no file with one"):
        read_apis("nowhere.json")
