"""Go's ``text/template`` over plain JSON-like data, as ``--format`` and log tags use it.

``Template(text)`` compiles once; ``render(data)`` runs it. Errors are ``Invalid`` with Go's words
behind "template parsing error: ". Supported: fields, chains, variables, pipelines, ``if``,
``range``, ``with``, ``break``, ``continue``, comments, trim markers, all literals, the built-in
functions but ``call``, and Docker's ``json split join title lower upper pad truncate``.
Not supported: ``define``, ``template``, ``block``.
"""

from wherry.wire.template.evaluate import Missing, Template
from wherry.wire.template.functions import HEADER_FUNCTIONS, NO_VALUE

__all__ = ["HEADER_FUNCTIONS", "NO_VALUE", "Missing", "Template"]
