"""Names to objects, and which names are code that a run folder may not bring in by itself."""

import pytest

from raynas.errors import ConfigError
from raynas.registry import foreign_code, lookup
from raynas.spaces import SPACES


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("nasbench201", {"channels": 4}, None),
        ("cell", {"ops": {"none": "none", "skip": "skip_connect"}}, None),
        ("cell", {"ops": {"none": "none", "mine": "evil.ops:Op"}}, "evil.ops:Op"),
        ("evil:Space", {}, "evil:Space"),
        # It is ours, but imports whatever its options say.
        ("raynas.registry:load_object", {"path": "evil:Space"}, "raynas.registry:load_object"),
    ],
)
def test_code_outside_raynas_is_found_without_importing_it(name, options, code):
    assert foreign_code("space", name, options, SPACES) == code


def test_unknown_names_say_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'nasbench201'"):
        lookup("space", "nasbench21", SPACES)
