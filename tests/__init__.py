"""The run-time type checker of the tests: beartype, with integers accepted where a float is annotated."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
