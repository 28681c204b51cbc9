-- Format 1 of the outbox; each later one is what `schema-N.sql` adds. `PRAGMA user_version` holds the format,
-- `PRAGMA application_id` the word "eiro".
-- Reading it: select epoch, seq, lower(hex(id)), kind, at, origin, body from record order by pos;

-- The outboxes that records were first written to; more than one after a salvage or a change of device.
CREATE TABLE epoch (
    epoch    INTEGER PRIMARY KEY,
    device   TEXT NOT NULL,
    began    TEXT NOT NULL
) STRICT;

-- `pos` orders everything in the file and is never used again; cursors are such places.
-- `lived` is for how many seconds eir had run when the record was written.
CREATE TABLE record (
    pos      INTEGER PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    id       BLOB NOT NULL,
    kind     TEXT NOT NULL,
    at       TEXT NOT NULL,
    lived    INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    origin   TEXT,
    body     TEXT NOT NULL
) STRICT;

-- What each cloud has: everything up to `cursor`, and stretches beyond it ([[first, last], …]). Where samples go
-- by a way of their own, they have a row with `/samples` behind the name of the cloud.
CREATE TABLE cloud (
    name     TEXT PRIMARY KEY,
    cursor   INTEGER NOT NULL,
    beyond   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Records that a cloud refused for good.
CREATE TABLE dead (
    number   INTEGER PRIMARY KEY,
    cloud    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    since    TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    record   TEXT NOT NULL
) STRICT;

-- Where to go on when no record is left to tell, and what was counted up to the place `counted`: written
-- with every deletion, so that an append touches the table of records alone.
CREATE TABLE state (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    epoch    INTEGER NOT NULL,
    next_pos INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    lived    INTEGER NOT NULL,
    counted  INTEGER NOT NULL
) STRICT;

CREATE TABLE tally (
    kind     TEXT PRIMARY KEY,
    records  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
