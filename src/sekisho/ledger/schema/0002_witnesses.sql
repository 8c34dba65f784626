-- Signature lines of witnesses over signed heads, as they stand in the note; a head that has one is kept longer.
create table ledger_cosignatures (
  size bigint not null,
  vkey text not null,
  line text not null,
  time_s bigint not null,
  primary key (size, vkey)
);

-- The greatest size that each witness has cosigned, and what was wrong with it last, if anything still is.
create table ledger_witnesses (
  vkey text primary key,
  size bigint not null,
  cosigned_ms bigint not null,
  finding text not null,
  finding_size bigint not null,
  finding_ms bigint not null
);
