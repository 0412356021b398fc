"""`python -m docs.generate [FILE…]` writes the pages that are made from the code: all of them, or those named."""

from __future__ import annotations

import sys

from docs.generate import PAGES, ROOT

if __name__ == "__main__":
    names = sys.argv[1:] or list(PAGES)
    if unknown := sorted(set(names) - PAGES.keys()):
        sys.exit(f"not made from the code: {', '.join(unknown)}. These are: {', '.join(PAGES)}")
    for name in names:
        text = PAGES[name]()
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(name)
