-- Whose word on hardware counts. `keys` is the JSON of a trust file's list of keys.
create table sites_verifiers (
  name text primary key,
  kind text not null,
  issuer text not null unique,
  country text not null,
  jku text not null,
  keys text not null,
  record_id text not null
);

-- At most one open question a site; a newer one takes its place, an answer uses it up.
create table sites_challenges (
  site text primary key references sites_sites (id),
  nonce text not null,
  asked_ms bigint not null,
  record_id text not null
);

-- The newest result of each site: the digest of its evidence file, and how long it holds.
create table sites_attestations (
  site text primary key references sites_sites (id),
  verifier text not null,
  file text not null,
  expires_ms bigint not null,
  record_id text not null
);

-- How often each organisation has handed in transcripts of a request, as JSON by its id; null before the first.
alter table sites_proofs add column handed_in text;
