"""What the pages need beyond mkdocs: formulas that no script has to draw, and links from names in docstrings."""

import html
import re

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
HEADING = re.compile(r'id="(rbm_jax\.(?:[a-z_]\w*\.)+(\w+))"')
NAME = re.compile(r"(<td>\s*)?<code>((?:\w+\.)*)(\w+)</code>(?!</a>|</autoref>)")


class ExampleSections(griffe.Extension):
    """Read the section `Example`, which is one in Google's style, as griffe reads `Examples`."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Rename the section in the docstring of any object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_page_content(page_html: str, **_) -> str:
    """Write formulas as MathML."""
    return FORMULA.sub(_to_mathml, page_html)


def on_env(env, *, files, **_) -> None:
    """Link `name` in text to its entry in the API, once all pages are there; the plugin autorefs makes the links.

    On the page of the command line names are those of options and of JSON, which some functions share.
    """
    pages = [file.page for file in files.documentation_pages()]
    entries = {name: anchor for page in pages for anchor, name in HEADING.findall(page.content)}
    for page in pages:
        if page.file.src_uri == "cli.md":
            continue
        page.content = NAME.sub(lambda match: _link(match, entries), page.content)


def _link(match: re.Match, entries: dict[str, str]) -> str:
    """A reference to the entry of the name, if there is one that its prefix fits; names of parameters stay."""
    cell, prefix, name = match.groups()
    anchor = entries.get(name)
    if cell or anchor is None or not set(prefix.split(".")) <= {*anchor.split("."), ""}:
        return match[0]
    return f'<autoref identifier="{anchor}">{match[0]}</autoref>'


def _to_mathml(match: re.Match) -> str:
    inline = match[1] == "span"
    formula = convert(html.unescape(match[2]).strip(), display="inline" if inline else "block")
    if "\\" in formula:
        raise PluginError(f"a command in this formula is not known to latex2mathml: {match[2].strip()}")
    return formula if inline else f'<div style="overflow-x: auto; padding: 0.4em 0">{formula}</div>'
