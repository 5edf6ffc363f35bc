"""What the pages need beyond mkdocs: formulas that no script has to draw, and links from names in docstrings."""

import html
import re

import griffe
from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
NAME = re.compile(r"(?<!<pre>)<code>(?:rbm_jax\.)?([A-Za-z_][\w.]*)</code>(?!</a>|</autoref>)")
HEADING = re.compile(r'id="(rbm_jax\.(?:[a-z_]\w*\.)+(\w+))"')


class ExampleSections(griffe.Extension):
    """Read the section `Example`, which is one in Google's style, as griffe reads `Examples`."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Rename the section in the docstring of any object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_page_content(page_html: str, **_) -> str:
    """Write formulas as MathML, and link `name` to its entry, on the same page or on another one."""
    here = {name: anchor for anchor, name in HEADING.findall(page_html)}
    page_html = NAME.sub(lambda match: _link(match[0], match[1], here), page_html)
    return FORMULA.sub(_to_mathml, page_html)


def _link(code: str, name: str, here: dict[str, str]) -> str:
    """The name as a reference that the plugin autorefs resolves, or leaves as it is if there is no such entry."""
    return f'<autoref identifier="{here.get(name, "rbm_jax." + name)}" optional>{code}</autoref>'


def _to_mathml(match: re.Match) -> str:
    inline = match[1] == "span"
    formula = convert(html.unescape(match[2]).strip(), display="inline" if inline else "block")
    return formula if inline else f'<div style="overflow-x: auto">{formula}</div>'
