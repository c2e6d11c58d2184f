"""What service tasks may call: one file per noun. Importing this package registers all of them.

The cases' part of the ledger registers itself here too, because every process that runs jobs imports this.
"""

from device import ledger
from device.operators import access, acquisition, archive, case, derivation, evidence, footage, notice, recorder

__all__ = [
    "access",
    "acquisition",
    "archive",
    "case",
    "derivation",
    "evidence",
    "footage",
    "ledger",
    "notice",
    "recorder",
]
