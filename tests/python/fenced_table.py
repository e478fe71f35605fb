"""The statements of the guide's pages on fencing and on a migration, on a database, with the tokens of two holders: the
first was stopped, and writes after the second. Its arguments are the page on fencing and the two tokens.
"""

import re
import sqlite3
import sys
import tempfile
from pathlib import Path


def statements(page):
    return re.findall(r"```sql\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def check(name, rows, expected):
    if rows != expected:
        sys.exit(f"FAILED: {name}: {rows} rows changed")


def fails(holder, statement, values):
    try:
        holder.execute(statement, values)
    except sqlite3.IntegrityError:
        return True
    return False


def main():
    page, first, second = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    create, update, fail = statements(page)
    [refuse] = statements(page.with_name("migration.md"))
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
        order = (first, second, second, first)
        holders[0].execute("CREATE TABLE schema_version (token BIGINT NOT NULL, step INTEGER NOT NULL)")
        holders[0].execute("INSERT INTO schema_version VALUES (0, 0)")
        steps = [holders[0].execute(refuse, {"token": token, "step": 1}).rowcount for token in order]
        holders[0].execute("CREATE TABLE fence (token BIGINT NOT NULL)")
        holders[0].execute("INSERT INTO fence VALUES (0)")
        failures = [fails(holders[0], fail, {"token": token}) for token in order]
        found = holders[1].execute("SELECT content, token FROM report").fetchall()
        for holder in holders:
            holder.close()
    check("fencing", rows, [1, 1, 1, 0])
    check("migration", steps, [1, 1, 1, 0])
    if failures != [False, False, False, True]:
        sys.exit(f"FAILED: of the statements that fail by themselves, these did: {failures}")
    if found != [("a whole report", second)]:
        sys.exit(f"FAILED: there is {found}")
    print(f"ok: {rows} rows changed")


if __name__ == "__main__":
    main()
