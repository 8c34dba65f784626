-- Keys in the custody of their owners. The control plane knows who holds them and never has one.
create table data_keys (
  id text primary key,
  name text not null,
  owner text not null,
  custodian text not null,
  custodian_name text not null,
  country text not null,
  custody text not null,
  exportable bigint not null,
  address text not null,
  public_key text not null,
  version bigint not null,
  state text not null,
  created_ms bigint not null,
  record_id text not null,
  unique (owner, name)
);

-- One row for each answer to an attempt that asked for data keys, once per one-time key of its agent. `record_id` names
-- the record that lets the order leave, so a row is written once and never changed.
create table data_key_releases (
  id text primary key,
  attempt text not null,
  job text not null,
  key text not null,
  version bigint not null,
  envelopes text not null,
  make bigint not null,
  recipient text not null,
  release_order text not null,
  reason text not null,
  rules text not null,
  decided_ms bigint not null,
  record_id text not null,
  unique (attempt, recipient)
);
create index data_key_releases_attempt on data_key_releases (attempt, decided_ms);

-- Null means what everything was before: stored as it is, under nobody's key.
alter table data_datasets add column key text;
alter table data_datasets add column key_version bigint;
alter table data_datasets add column envelope text;
alter table data_artefacts add column key text;
alter table data_artefacts add column key_version bigint;
alter table data_artefacts add column envelope text;
