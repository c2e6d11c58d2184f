"""Forms: form-js JSON is the definition; it is parsed, checked and validated here and rendered elsewhere.

What a form may contain, and the custom properties (`after`, `past`, `max_hours`, `source`, `from` …), is listed in
`model.Field`. Whatever the server could not check as the browser shows it is refused at deployment.
"""

from engine.forms.conditions import Condition
from engine.forms.model import Field, Form, Option
from engine.forms.parsing import parse, problems

__all__ = ["Condition", "Field", "Form", "Option", "parse", "problems"]
