"""The tables of the reactor's own file, and the statements that change timers."""

APPLICATION_ID = 0x64427263  # "dBrc"
FORMAT = 2

SCHEMA = """
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT NOT NULL, incarnation TEXT NOT NULL) STRICT;
CREATE TABLE reactions (name TEXT PRIMARY KEY, position INTEGER NOT NULL, hash BLOB NOT NULL,
    rebuilt INTEGER NOT NULL) STRICT;
CREATE TABLE timers (reaction TEXT NOT NULL, schedule INTEGER NOT NULL, name TEXT NOT NULL, due INTEGER NOT NULL,
    key TEXT NOT NULL, position INTEGER NOT NULL, type TEXT NOT NULL, payload TEXT NOT NULL, origin TEXT NOT NULL,
    tries INTEGER NOT NULL, error TEXT NOT NULL, command TEXT NOT NULL,
    PRIMARY KEY (reaction, schedule, name)) STRICT, WITHOUT ROWID;
CREATE INDEX due ON timers (reaction, due);
CREATE TABLE pending (reaction TEXT NOT NULL, schedule INTEGER NOT NULL, timers INTEGER NOT NULL,
    PRIMARY KEY (reaction, schedule)) STRICT, WITHOUT ROWID;
CREATE TRIGGER timer_set AFTER INSERT ON timers BEGIN
    INSERT INTO pending VALUES (NEW.reaction, NEW.schedule, 1) ON CONFLICT DO UPDATE SET timers = timers + 1;
END;
CREATE TRIGGER timer_removed AFTER DELETE ON timers BEGIN
    UPDATE pending SET timers = timers - 1 WHERE (reaction, schedule) = (OLD.reaction, OLD.schedule);
END;
CREATE TABLE parked (reaction TEXT NOT NULL, position INTEGER NOT NULL, reason TEXT NOT NULL, time TEXT NOT NULL,
    tries INTEGER NOT NULL, due INTEGER NOT NULL, follows INTEGER NOT NULL, command TEXT NOT NULL,
    PRIMARY KEY (reaction, position)) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (reaction TEXT NOT NULL, position INTEGER NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (reaction, position)) STRICT, WITHOUT ROWID;
"""
TRIED = "CREATE INDEX IF NOT EXISTS tried ON timers (reaction, due) WHERE tries > 0"  # not in earlier files
TRY_BY = "UPDATE timers SET due = ?2 WHERE reaction = ?1 AND schedule = 0 AND tries > 0 AND due > ?2"
TIMER_COLUMNS = "reaction, schedule, name, due, key, position, type, payload, origin, tries, error, command"

SET = "INSERT OR REPLACE INTO timers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
POSTPONE = "UPDATE timers SET due = ?, tries = ?, error = ? WHERE (reaction, schedule, name, key) = (?, ?, ?, ?)"
REMOVE = "DELETE FROM timers WHERE (reaction, name, schedule) = (?, ?, ?) AND ?4 IN ('', key)"
# The command of an operator stays until reactor has carried it out: the event may fail meanwhile.
PARK = """
INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET reason = excluded.reason, time = excluded.time, tries = excluded.tries,
    due = excluded.due, follows = excluded.follows
"""
RETRIED = """
UPDATE parked SET tries = 0, due = 1, command = CASE command WHEN 'skip' THEN 'skip' ELSE '' END
WHERE (reaction, position) = (?, ?)
"""
REMOVE_BEYOND = "DELETE FROM parked WHERE position > (SELECT position FROM reactions WHERE name = reaction)"
REMOVE_PASSED = """
DELETE FROM attempts WHERE number = ? AND position <= (SELECT position FROM reactions WHERE name = reaction)
"""
# Counting a million timers for each Status would need a scan: triggers count them, also replaced timers.
COUNTS = """
SELECT name, coalesce((SELECT timers FROM pending WHERE (reaction, schedule) = (name_, 0)), 0),
    (SELECT count(*) FROM parked WHERE reaction = name_ AND due = 0 AND follows = 0),
    (SELECT count(*) FROM parked WHERE reaction = name_ AND (due > 0 OR follows > 0))
FROM (SELECT name, name AS name_ FROM reactions)
"""
