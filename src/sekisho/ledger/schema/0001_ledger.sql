-- The canonical bytes of every record; a row is removed only when its record is erased.
create table ledger_bodies (
  id text primary key,
  body bytea not null
);

-- Records that are committed but not yet in the log. The number orders one batch of the sequencer and nothing else:
-- numbers are given before commits, so a lower one may appear after a higher one was taken.
create table ledger_outbox (
  number {sequence},
  id text not null,
  stream text not null,
  digest bytea not null
);

-- The log: one row per leaf. Stream is a pseudonym, digest the 32 bytes of the body's SHA-256, number the outbox's.
create table ledger_entries (
  log_index bigint primary key,
  number bigint not null,
  id text not null unique,
  stream text not null,
  stream_seq bigint not null,
  digest bytea not null,
  unique (stream, stream_seq)
);

-- Up to 256 hashes of 32 bytes each; level and tile as in C2SP tlog-tiles. The last tile of a level may be partial.
create table ledger_tiles (
  level bigint not null,
  tile bigint not null,
  hashes bytea not null,
  primary key (level, tile)
);

-- One row: who sequences, and the tree as of the last batch. Locked for the length of a batch.
create table ledger_sequencer (
  id bigint primary key check (id = 1),
  holder text not null,
  epoch bigint not null,
  until_ms bigint not null,
  size bigint not null,
  root bytea,
  edge bytea
);
insert into ledger_sequencer (id, holder, epoch, until_ms, size) values (1, '', 0, 0, 0);

-- Signed notes, the newest thousand; any earlier head follows from the tiles.
create table ledger_checkpoints (
  size bigint primary key,
  root bytea not null,
  note bytea not null,
  vkey text not null,
  signed_ms bigint not null
);

-- What records name by digest.
create table ledger_charters (
  digest text primary key,
  body bytea not null
);
create table ledger_facts (
  digest text primary key,
  body bytea not null
);
create table ledger_files (
  digest text primary key,
  body bytea not null
);

-- The tables below carry effects.

-- Streams that have ended, each with the number of its records, the closing one included.
create table ledger_closures (
  stream text primary key,
  record_count bigint not null,
  closed_ms bigint not null,
  record_id text not null
);

-- Records whose body is gone. `claims` keeps which rows the body spoke for, without their digests.
create table ledger_erasures (
  id text primary key,
  claims text not null,
  erased_ms bigint not null,
  record_id text not null
);

-- Changes of the log's key; before the first one the log signs with the first key of its folder.
create table ledger_keys (
  vkey text primary key,
  previous text not null,
  since_ms bigint not null,
  record_id text not null
);
