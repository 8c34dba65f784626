create table data_datasets (
  id text primary key,
  name text not null,
  owner text not null,
  level bigint not null,
  labels text not null,
  residency text not null,
  licence text not null,
  object text not null,
  size_bytes bigint not null,
  files bigint not null,
  state text not null,
  created_ms bigint not null,
  record_id text not null,
  unique (owner, name)
);

create table data_artefacts (
  id text primary key,
  name text not null,
  kind text not null,
  owner text not null,
  owners text not null,
  level bigint not null,
  labels text not null,
  residency text not null,
  object text not null,
  object_kind text not null,
  size_bytes bigint not null,
  job text not null,
  attempt text not null,
  created_ms bigint not null,
  record_id text not null
);
create index data_artefacts_job on data_artefacts (job, id);

-- Where the bytes of an object lie; written when they arrived, removed when they are gone.
create table data_copies (
  object text not null,
  site text not null,
  since_ms bigint not null,
  record_id text not null,
  primary key (object, site)
);
