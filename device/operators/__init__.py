"""What service tasks may call: one file per noun. Importing this package registers all of them."""

from device.operators import access, archive, case, evidence, footage, notice, recorder

__all__ = ["access", "archive", "case", "evidence", "footage", "notice", "recorder"]
