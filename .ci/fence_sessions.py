"""For mkdocs: makes a `>>>` session in a docstring a code block, since Markdown would quote it."""

import re

import griffe

SESSION = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.M)


class FenceSessions(griffe.Extension):
    def on_object(self, *, obj, **_):
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = SESSION.sub("\n```pycon\n\\g<0>\n```", obj.docstring.value)
