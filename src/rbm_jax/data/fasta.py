"""FASTA files of aligned sequences of proteins or nucleic acids."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rbm_jax._internal.checks import check_count
from rbm_jax._internal.files import atomic_write, existing_file, read_unzipped
from rbm_jax.data.sequences import Alignment, check_states

__all__ = ["DNA", "PROTEIN", "RNA", "load_fasta", "write_fasta"]

PROTEIN = "-ACDEFGHIKLMNPQRSTVWY"
"""The gap and the 20 amino acids."""
DNA = "-ACGT"
"""The gap and the four bases of DNA."""
RNA = "-ACGU"
"""The gap and the four bases of RNA."""

_AMBIGUOUS = {PROTEIN: "BJOUXZ", DNA: "BDHKMNRSVWXY", RNA: "BDHKMNRSVWXY"}
"""Letters of the IUPAC codes that stand for several of an alphabet's, or for one that it does not have."""
_ONLY_PROTEIN = b"EFILPQJOZ"
"""Letters that are in no code of nucleic acids."""
_UNKNOWN, _LEFT_OUT = 255, 254


class _Record(NamedTuple):
    """A sequence as the file has it, with the numbers of its header's line and of those of its letters."""

    name: str
    line: int
    lines: list[tuple[int, bytes]]


def load_fasta(path: str | os.PathLike, *, alphabet: str | None = None, drop_inserts: bool = True) -> Alignment:
    r"""Read aligned sequences from a FASTA or A2M file, compressed with gzip or not.

    A record is a line that starts with ">" and a name, and the lines of letters up to the next. Letters that are
    ambiguous in the IUPAC codes (BJOUXZ of proteins; BDHKMNRSVWXY of nucleic acids) become gaps, as is usual in
    inference from alignments: what is not known there enters as no residue.

    Args:
        path: the file.
        alphabet: one letter a state, such as `PROTEIN`, `DNA`, `RNA` or any string of different letters; only those
            three have ambiguous letters. None: what the letters say. With any of EFILPQJOZ they are of proteins,
            otherwise, if nine tenths are of ACGTUN, of nucleic acids: of RNA with U, else of DNA.
        drop_inserts: lower-case letters and "." that are not in the alphabet are insertions of the A2M format, beside
            the alignment, and are left out. False, for files that use lower case for something else: such letters are
            read as upper-case ones, and "." as "-".

    Returns:
        The alignment, in the order of the file. See `one_hot`, `remove_duplicates` and `sequence_weights`.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: an alphabet that is not a string.
        ValueError: a file that is not FASTA, is damaged, or holds sequences that are empty, of unequal lengths or with
            letters not in the alphabet (with the file, the line and the record); an unusable alphabet, or none that
            is evident.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from rbm_jax.data import load_fasta, one_hot
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "family.fasta"
        ...     _ = path.write_text(">first\nMK-L\n>second\nMRxVL\n")
        ...     alignment = load_fasta(path)
        >>> alignment.names, alignment.states.tolist()
        (('first', 'second'), [[11, 9, 0, 10], [11, 15, 18, 10]])
        >>> one_hot(alignment.states, len(alignment.alphabet)).shape
        (2, 84)
    """
    path = existing_file(path)
    alphabet = None if alphabet is None else _check_alphabet(alphabet)
    records = list(_records(path, read_unzipped(path)))
    if not records:
        raise ValueError(f"{path} holds no sequences: a FASTA file has lines that start with '>'")
    if alphabet is None:
        alphabet = _infer_alphabet(path, records, drop_inserts)
    table = _table(alphabet, drop_inserts)
    rows = [_read_states(path, number, record, table, alphabet) for number, record in enumerate(records, 1)]
    for number, (record, row) in enumerate(zip(records, rows, strict=True), 1):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"{_place(path, record.line, number, record)} has {len(row)} aligned letters, the first record "
                f"{len(rows[0])}: align the sequences, or see the argument drop_inserts if lower-case letters count"
            )
    return Alignment(np.stack(rows), tuple(record.name for record in records), alphabet)


def write_fasta(path: str | os.PathLike, alignment: Alignment, *, width: int = 60) -> None:
    """Write aligned sequences to a FASTA file, as `load_fasta` reads them.

    Args:
        path: the file; an older one of this name is replaced once the new one is complete.
        alignment: states, names and alphabet.
        width: letters a line.

    Raises:
        OSError: the folder does not exist or cannot be written.
        ValueError: states that are not in the alphabet, or names that are not one line each.
    """
    states, names, alphabet = alignment.states, alignment.names, alignment.alphabet
    alphabet, width = _check_alphabet(alphabet), check_count("width", width)
    states = check_states("alignment.states", states, len(alphabet))
    if len(names) != len(states):
        raise ValueError(f"alignment must have one name for each of the {len(states)} sequences, got {len(names)}")
    for name in names:
        if set(name) & set("\n\r\0") or name != name.strip():
            raise ValueError(f"alignment.names must be one line each, without spaces around, got {name!r}")
    letters = np.frombuffer(alphabet.encode(), np.uint8)[states]
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for name, row in zip(names, letters, strict=True):
            lines = (row[start : start + width].tobytes() for start in range(0, len(row), width))
            file.write(b">" + name.encode() + b"\n" + b"\n".join(lines) + b"\n")


def _records(path: Path, content: bytes) -> Iterator[_Record]:
    record, number = None, 0
    for line, text in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        text = text.strip()
        if text.startswith(b">"):
            if record is not None:
                yield record
            number += 1
            record = _Record(_decode(path, line, number, text[1:]), line, [])
        elif text and record is None:
            raise ValueError(f"{path}, line {line}: no FASTA file, for it has {text[:20]!r} before the first '>'")
        elif text and record is not None:
            record.lines.append((line, text))
    if record is not None:
        yield record


def _decode(path: Path, line: int, number: int, name: bytes) -> str:
    try:
        text = name.decode().strip()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{path}, line {line}, record {number}: its name is not text but {name[:20]!r}")
    return text


def _place(path: Path, line: int, number: int, record: _Record) -> str:
    return f"{path}, line {line}, record {number} ({record.name[:40]!r})"


def _read_states(path: Path, number: int, record: _Record, table: np.ndarray, alphabet: str) -> np.ndarray:
    codes = table[np.frombuffer(b"".join(text for _, text in record.lines), np.uint8)]
    if (codes == _UNKNOWN).any():
        line, text = next(
            entry for entry in record.lines if (table[np.frombuffer(entry[1], np.uint8)] == _UNKNOWN).any()
        )
        letter = next(bytes([byte]) for byte in text if table[byte] == _UNKNOWN)
        raise ValueError(
            f"{_place(path, line, number, record)} holds {letter.decode('latin-1')!r}, which is not in the alphabet "
            f"{alphabet!r} (see the argument alphabet)"
        )
    codes = codes[codes != _LEFT_OUT]
    if not len(codes):
        what = "no letters" if not record.lines else "no aligned letters (see the argument drop_inserts)"
        raise ValueError(f"{_place(path, record.line, number, record)} is empty: it has {what}")
    return codes


def _table(alphabet: str, drop_inserts: bool) -> np.ndarray:
    """The state of each byte."""
    states = {letter: state for state, letter in enumerate(alphabet)}
    ambiguous = _AMBIGUOUS.get(alphabet)
    known = (dict.fromkeys(ambiguous, states["-"]) if ambiguous else {}) | states
    lower = {letter.lower(): state for letter, state in known.items() if letter.isalpha()}
    if "-" in states:
        lower["."] = states["-"]
    if drop_inserts:
        lower = dict.fromkeys("abcdefghijklmnopqrstuvwxyz.", _LEFT_OUT)
    table = np.full(256, _UNKNOWN, np.uint8)
    for letter, code in (dict.fromkeys(" \t", _LEFT_OUT) | lower | known).items():
        table[ord(letter)] = code
    return table


def _infer_alphabet(path: Path, records: list[_Record], drop_inserts: bool) -> str:
    counts = np.zeros(256, int)
    for record in records:
        for _, text in record.lines:
            counts += np.bincount(np.frombuffer(text if drop_inserts else text.upper(), np.uint8), minlength=256)

    def count(letters: bytes) -> int:
        return int(counts[list(letters)].sum())

    if count(_ONLY_PROTEIN):
        return PROTEIN
    if count(b"ACGTUN") < max(1, 0.9 * count(b"ABCDGHKMNRSTUVWXY")):
        raise ValueError(f"{path}: its letters could be of proteins or of nucleic acids: give the alphabet")
    return RNA if count(b"U") else DNA


def _check_alphabet(alphabet: str) -> str:
    if not isinstance(alphabet, str):
        raise TypeError(f"alphabet must be a string, one letter a state, got {type(alphabet).__name__}")
    printable = alphabet.isascii() and alphabet.isprintable() and not set(alphabet) & set(" >")
    if len(alphabet) < 2 or len(set(alphabet)) < len(alphabet) or not printable:
        raise ValueError(
            f"alphabet must be at least two different printable ASCII letters, without space and '>', got {alphabet!r}"
        )
    return alphabet
