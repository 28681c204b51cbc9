-- Format 2 of the outbox: what it adds to format 1. No record that is there is written again.

-- What eir goes on with after a restart. `boot` and `uptime` (milliseconds since the board was started) say when
-- it was saved where the wall clock cannot; `synced` whether that was right.
CREATE TABLE memory (
    name     TEXT PRIMARY KEY,
    saved    TEXT NOT NULL,
    boot     TEXT,
    uptime   INTEGER,
    synced   INTEGER NOT NULL,
    body     TEXT NOT NULL
) STRICT;

-- Starts of the board in which records were written before its clock was set. `began` is when it was started,
-- in milliseconds since 1970, once the clock was set.
CREATE TABLE boot (
    number   INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    began    INTEGER
) STRICT;

-- Of a record that was made before the clock was set: the start of the board, and the milliseconds since. Its
-- `at` is what the wrong clock said; the right time is boot.began + uptime.
ALTER TABLE record ADD COLUMN boot INTEGER;
ALTER TABLE record ADD COLUMN uptime INTEGER;
