import hashlib
from pathlib import Path

import pytest

from medmtl.errors import Code, DatasetError
from medmtl_training.cases import read_dataset
from medmtl_training.evaluation.provenance import Member, image_hashes, unseen_members


def test_each_case_goes_to_the_fold_that_did_not_see_it() -> None:
    members = [Member(name="fold-0", seen=frozenset({"b", "c"})), Member(name="fold-1", seen=frozenset({"a"}))]
    allowed = unseen_members({"A": ["a"], "B": ["b"], "D": ["d"]}, members)
    assert allowed == {"A": ("fold-0",), "B": ("fold-1",), "D": ("fold-0", "fold-1")}


def test_one_channel_seen_is_seen() -> None:
    member = Member(name="all", seen=frozenset({"b"}))
    with pytest.raises(DatasetError, match="1 of 2 cases") as caught:
        unseen_members({"A": ["a", "b"], "C": ["c"]}, [member])
    assert caught.value.code == Code.SEEN_IN_TRAINING


def test_hash_is_that_of_the_file(toy: Path) -> None:
    dataset, _ = read_dataset(toy)
    case = dataset.cases[3]
    assert image_hashes(case) == (hashlib.sha256(case.images[0].read_bytes()).hexdigest(),)
