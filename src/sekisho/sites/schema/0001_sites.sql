create table sites_sites (
  id text primary key,
  name text not null unique,
  operator text not null,
  engine text not null,
  state text not null,
  stand_in bigint not null,
  control bigint not null,
  cpus bigint not null,
  memory_bytes bigint not null,
  yen_per_hour bigint not null,
  wall text not null,
  record_id text not null
);

create table sites_accelerators (
  site text not null references sites_sites (id),
  type text not null,
  count bigint not null,
  yen_per_hour bigint not null,
  record_id text not null,
  primary key (site, type)
);

-- One row a statement; the newest statement of a name replaces the one before, whose record stays in the ledger.
create table sites_facts (
  site text not null references sites_sites (id),
  name text not null,
  value text not null,
  grade text not null,
  issuer text not null,
  observed_ms bigint not null,
  expires_ms bigint not null,
  source text not null,
  record_id text not null,
  primary key (site, name)
);
