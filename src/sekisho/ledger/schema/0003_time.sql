-- RFC 3161 tokens over signed heads, as their authority gave them; a head that has one is kept.
create table ledger_timestamps (
  size bigint not null,
  authority text not null,
  token bytea not null,
  time_s bigint not null,
  primary key (size, authority)
);
