"""The statements of the guide's page on fencing, on a database, with the tokens of two holders: the first was stopped, and
writes after the second. Its arguments are the page and the two tokens.
"""

import re
import sqlite3
import sys
import tempfile
from pathlib import Path


def main():
    page, first, second = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    create, update = re.findall(r"```sql\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    with tempfile.TemporaryDirectory() as directory:
        # Each holder has a connection of its own.
        holders = [sqlite3.connect(Path(directory, "reports.db"), isolation_level=None) for _ in range(2)]
        holders[0].execute(create)
        holders[0].execute("INSERT INTO report (id, content, token) VALUES (1, '', 0)")

        def write(holder, token, content):
            return holders[holder].execute(update, {"id": 1, "content": content, "token": token}).rowcount

        rows = [
            write(0, first, "half a report"),
            write(1, second, "a report"),
            write(1, second, "a whole report"),
            write(0, first, "the other half"),
        ]
        found = holders[1].execute("SELECT content, token FROM report").fetchall()
        for holder in holders:
            holder.close()
    if rows != [1, 1, 1, 0] or found != [("a whole report", second)]:
        sys.exit(f"FAILED: {rows} rows changed; there is {found}")
    print(f"ok: {rows} rows changed")


if __name__ == "__main__":
    main()
