import re

import pytest

from raynas.errors import SpaceError
from raynas.spaces.nasbench201 import NasBench201


@pytest.mark.parametrize("indices", [(0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 2), (-1, 0, 0, 0, 0, 0), ()])
def test_refuses_indices_that_are_no_cell(indices):
    space = NasBench201(ops=("none", "nor_conv_3x3"))
    message = f"nasbench201: {list(indices)} must be 6 indices from 0 to 1"
    with pytest.raises(SpaceError, match=re.escape(message)):
        space.from_choices(indices)


def test_choices_count_the_allowed_ops():
    space = NasBench201(ops=("nor_conv_3x3", "none"))
    assert space.choices() == (("none", "nor_conv_3x3"),) * 6
    all_on = space.from_choices((1,) * 6)
    assert space.ops(all_on) == ("nor_conv_3x3",) * 6
    assert space.to_choices(all_on) == (1,) * 6
