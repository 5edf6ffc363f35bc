"""Alignments from FASTA files, their one-hot vectors and their weights."""

import dataclasses
import gzip
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbm_jax.data import (
    DNA,
    PROTEIN,
    RNA,
    Alignment,
    load_fasta,
    one_hot,
    remove_duplicates,
    sequence_weights,
    states_of,
    write_fasta,
)

FAMILY = b""">sp|P1|A_HUMAN first domain/12-24
MKV-LSGE
rndWACQ

>P2/3-15
MKVALS..GEx
 WB-X
"""


@pytest.fixture
def fasta(tmp_path):
    """Write bytes to a file and give its path."""

    def write(content):
        path = tmp_path / "family.fasta"
        path.write_bytes(content)
        return path

    return write


def letters(alignment):
    return ["".join(alignment.alphabet[state] for state in row) for row in alignment.states]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("compress", [False, True])
def test_records_of_several_lines_are_read_without_inserts(fasta, ending, compress):
    content = b"\xef\xbb\xbf" + FAMILY.replace(b"\n", ending)
    found = load_fasta(fasta(gzip.compress(content) if compress else content))
    assert found.names == ("sp|P1|A_HUMAN first domain/12-24", "P2/3-15")
    assert letters(found) == ["MKV-LSGEWACQ", "MKVALSGEW---"]
    assert found.alphabet == PROTEIN
    assert found.states.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "options", "alphabet", "expected"),
    [
        (b">a\nACGTN-", {}, DNA, ["ACGT--"]),
        (b">a\nACGUUUUUUR", {}, RNA, ["ACGUUUUUU-"]),
        (b">a\nACGTX", {"alphabet": PROTEIN}, PROTEIN, ["ACGT-"]),
        (b">a\nac.T", {"drop_inserts": False}, DNA, ["AC-T"]),
        (b">a\nacdb.x", {"alphabet": "-.abcdx"}, "-.abcdx", ["acdb.x"]),
        (b">a\nACDHK", {"alphabet": PROTEIN}, PROTEIN, ["ACDHK"]),
        (b">\n0110\n>a\n1 1\t11", {"alphabet": "01"}, "01", ["0110", "1111"]),
    ],
)
def test_alphabets_are_inferred_or_given(fasta, content, options, alphabet, expected):
    found = load_fasta(fasta(content), **options)
    assert found.alphabet == alphabet
    assert letters(found) == expected


BAD = {
    "empty file": (b"", {}, "no sequences"),
    "blank lines": (b"\n \r\n", {}, "no sequences"),
    "no header": (b"MKV\n>a\nMKV\n", {}, "line 1: no FASTA file, for it has b'MKV'"),
    "binary garbage": (b"\x00\xff\x89PNG", {}, "line 1: no FASTA file"),
    "binary after a header": (b">a\nMKVL\n\x00\x01\n", {}, r"line 3, record 1 \('a'\) holds '\\x00'"),
    "binary name": (b">a\nMKVL\n>\xff\xfe\nMKVL", {}, "line 3, record 2: its name"),
    "empty record": (b">a\nMKVL\n>b\n>c\nMKVL\n", {}, r"line 3, record 2 \('b'\) is empty: it has no letters"),
    "empty last record": (b">a\nMKVL\n>b\n", {}, r"line 3, record 2 \('b'\) is empty"),
    "only inserts": (b">a\nmkvl\n", {"alphabet": PROTEIN}, "no aligned letters"),
    "unequal lengths": (b">a\nMKVL\n>b\nMK\nV\n", {}, r"line 3, record 2 \('b'\) has 3 aligned letters.* 4"),
    "unknown letter": (b">a\nMKVL\n>b\nMK\nV*\n", {}, r"line 5, record 2 \('b'\) holds '\*'"),
    "digits": (b">a\n1 MKVL\n", {}, "line 2, record 1.* holds '1'"),
    "protein for DNA": (b">a\nACGT\n>b\nACGE\n", {"alphabet": DNA}, "line 4.* holds 'E'.* alphabet"),
    "gap without one": (b">a\nAB-\n", {"alphabet": "AB"}, "holds '-'"),
    "T and U": (b">a\nACGTU\n", {}, "holds 'T'.*'-ACGU'"),
    "of either kind": (b">a\nACDHKMRS\n", {}, "give the alphabet"),
    "gaps alone": (b">a\n----\n", {}, "give the alphabet"),
    "truncated gzip": (gzip.compress(FAMILY)[:-9], {}, "gzip"),
    "damaged gzip": (gzip.compress(FAMILY)[:20] + b"\xff" * 30, {}, "gzip"),
}


@pytest.mark.parametrize(("content", "options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_named_with_line_and_record(fasta, content, options, message):
    path = fasta(content)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + message):
        load_fasta(path, **options)


def test_missing_files_and_unusable_alphabets_are_named(fasta, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.fasta"):
        load_fasta(tmp_path / "nothing.fasta")
    for alphabet in ("", "A", "AAC", "A C", "A>", "AΓ", "A\n"):
        with pytest.raises(ValueError, match="alphabet must be"):
            load_fasta(fasta(FAMILY), alphabet=alphabet)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_alignment_is_refused(tmp_path):
    with pytest.raises(TypeError, match="alphabet must be a string"):
        load_fasta(__file__, alphabet=21)
    with pytest.raises(TypeError, match="states must be integers"):
        one_hot(np.zeros((2, 3)), 2)
    for states, message in (
        (np.zeros(3, int), "shape"),
        (np.zeros((0, 3), int), "shape"),
        ([[-1]], "-1"),
        ([[2]], "2"),
    ):
        with pytest.raises(ValueError, match=f"states must .*{message}"):
            one_hot(states, 2)
    with pytest.raises(ValueError, match="n_states"):
        one_hot(np.zeros((2, 3), int), 1)
    for configurations in (np.zeros((1, 5)), np.zeros(4), np.zeros((0, 4))):
        with pytest.raises(ValueError, match="configurations must have shape"):
            states_of(configurations, 4)
    for row in ([0, 0], [1, 1], [2, 0], [0.5, 0.5], [1, np.nan], [1, -1]):
        with pytest.raises(ValueError, match="row 1, site 1"):
            states_of(np.array([[1, 0, 0, 1], [0, 1, *row]]), 2)
    for identity in (0, 1.1, np.nan, -0.5):
        with pytest.raises(ValueError, match="identity"):
            sequence_weights(np.zeros((2, 3), int), identity=identity)
    good = Alignment(np.zeros((1, 3), np.uint8), ("a",), DNA)
    for changes, message in (
        ({"names": ()}, "one name"),
        ({"names": ("a\nb",)}, "one line"),
        ({"states": np.full((1, 3), 5)}, "from 0 to 4"),
    ):
        with pytest.raises(ValueError, match=message):
            write_fasta(tmp_path / "a.fasta", dataclasses.replace(good, **changes))
    assert list(tmp_path.iterdir()) == []


@given(
    rows=st.integers(1, 70).flatmap(
        lambda length: st.lists(st.lists(st.integers(0, 20), min_size=length, max_size=length), min_size=1, max_size=4)
    ),
    width=st.integers(1, 80),
    name=st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=10).map(str.strip),
)
@settings(max_examples=50, deadline=None)
def test_alignments_come_back_as_they_went(tmp_path_factory, rows, width, name):
    path = tmp_path_factory.mktemp("fasta") / "a.fasta"
    alignment = Alignment(np.array(rows, np.uint8), (name,) * len(rows), PROTEIN)
    write_fasta(path, alignment, width=width)
    found = load_fasta(path, alphabet=PROTEIN)
    np.testing.assert_array_equal(found.states, alignment.states)
    assert (found.names, found.alphabet) == (alignment.names, alignment.alphabet)
    assert max(map(len, path.read_bytes().split(b"\n")[1:2])) <= width


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.fasta"
    write_fasta(path, Alignment(np.array([[0, 1]]), ("a",), DNA))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="surrogate"):
        write_fasta(path, Alignment(np.array([[0, 1], [2, 3]]), ("a", "\ud800"), DNA))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("n_states", [2, 5, 21, 300])
def test_one_hot_vectors_are_site_major_and_can_be_read_back(n_states):
    states = np.random.default_rng(0).integers(0, n_states, (7, 4))
    hot = one_hot(states, n_states)
    assert hot.shape == (7, 4 * n_states)
    assert hot.dtype == np.uint8
    for row, site in np.ndindex(7, 4):
        expected = np.arange(n_states) == states[row, site]
        np.testing.assert_array_equal(hot[row, site * n_states : (site + 1) * n_states], expected)
    np.testing.assert_array_equal(states_of(hot.astype(np.float32), n_states), states)


def test_duplicates_are_counted_and_the_first_is_kept():
    states = np.array([[1, 2], [0, 0], [1, 2], [0, 1], [1, 2]], np.uint8)
    distinct, counts = remove_duplicates(Alignment(states, tuple("abcde"), DNA))
    np.testing.assert_array_equal(distinct.states, [[1, 2], [0, 0], [0, 1]])
    assert distinct.names == ("a", "b", "d")
    np.testing.assert_array_equal(counts, [3, 1, 1])


@pytest.mark.parametrize("identity", [0.3, 0.7, 0.8, 1.0])
@pytest.mark.parametrize("block_elements", [1, 3 * 10 * 4, 2**22])
def test_weights_are_inverse_numbers_of_similar_sequences(monkeypatch, identity, block_elements):
    monkeypatch.setattr("rbm_jax.data.sequences._BLOCK_ELEMENTS", block_elements)
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 4, (4, 10))
    states = centers[rng.integers(0, 4, 25)]
    states = np.where(rng.random(states.shape) < 0.15, rng.integers(0, 4, states.shape), states)
    weights = sequence_weights(states, identity=identity)
    least = round(10 * identity)  # in tenths, which is exact
    expected = [1 / sum((row == other).sum() >= least for other in states) for row in states]
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert weights.min() < weights.max()
