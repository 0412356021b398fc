"""The documents: pages in Markdown, and in `generate` the programs that make some of them from the code."""
