-- Who may measure where sites are; the key and the place are those that transcripts must name.
create table sites_landmarks (
  name text primary key,
  organisation text not null,
  public_key text not null unique,
  latitude_udeg bigint not null,
  longitude_udeg bigint not null,
  address text not null,
  contradicted_by text not null,
  record_id text not null
);

-- One row a version of the territory file; the bytes are kept by the ledger under the digest.
create table sites_territories (
  digest text primary key,
  name text not null,
  version text not null,
  disputed text not null,
  added_ms bigint not null,
  in_force_since_ms bigint,
  state text not null,
  record_id text not null
);

-- One row a time that a site (or another landmark) is to be measured. The transcripts that came in stand in the
-- evidence file, which the ledger keeps.
create table sites_proofs (
  id text primary key,
  target text not null,
  kind text not null,
  public_key text not null,
  address text not null,
  nonce text not null,
  state text not null,
  code text not null,
  file text,
  asked_ms bigint not null,
  closed_ms bigint,
  record_id text not null
);

create index sites_proofs_target on sites_proofs (target, id);
create index sites_proofs_state on sites_proofs (state, id);

-- Two landmarks of which one answered the other sooner than light crosses the way between their declared places.
create table sites_contradictions (
  one text not null,
  other text not null,
  proof text not null,
  record_id text not null,
  primary key (one, other)
);
