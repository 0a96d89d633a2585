"""What the README prints for readers to copy, taken from the page letter for letter; and what a
reader puts in for the values of the examples."""

import re
from typing import List, Mapping

from support.program import README


def under(title: str) -> str:
    """The text under a heading, up to the next one of any kind."""
    text = README.read_text(encoding="utf-8")
    match = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^##+ |\Z)", text, re.M | re.S)
    assert match, f"README.md has no heading {title!r}"
    return match.group(1)


def blocks(title: str, language: str) -> List[str]:
    """The blocks of code of that language under a heading."""
    return re.findall(rf"^```{language}\n(.*?)^```$", under(title), re.M | re.S)


def block(title: str, language: str, having: str = "") -> str:
    """The one that has these words."""
    (found,) = [each for each in blocks(title, language) if having in each]
    return found


def filled(text: str, values: Mapping[str, str]) -> str:
    """With a reader's own values in place of those of the example; each must be there. They are put
    in at once, so that none is taken for another one's example."""
    for old in values:
        assert old in text, old
    pattern = "|".join(re.escape(old) for old in sorted(values, key=len, reverse=True))
    return re.sub(pattern, lambda match: values[match.group()], text)
