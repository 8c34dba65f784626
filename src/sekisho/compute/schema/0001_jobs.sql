create table compute_jobs (
  id text primary key,
  name text not null,
  team text not null,
  owner text not null,
  submitter text not null,
  kind text not null,
  level bigint not null,
  labels text not null,
  residency text not null,
  owners text not null,
  file text not null,
  spec text not null,
  state text not null,
  reason text not null,
  site text not null,
  attempts bigint not null,
  cancelling bigint not null,
  sites text not null,
  created_ms bigint not null,
  changed_ms bigint not null,
  ended_ms bigint not null,
  record_id text not null
);
create index compute_jobs_state on compute_jobs (state, id);

create table compute_attempts (
  id text primary key,
  job text not null references compute_jobs (id),
  number bigint not null,
  site text not null,
  agent text not null,
  token bigint not null,
  state text not null,
  reason text not null,
  detail text not null,
  exit_status bigint,
  wall text not null,
  canaries text not null,
  limits text not null,
  image text not null,
  usage text not null,
  cpus bigint not null,
  memory_bytes bigint not null,
  gpus bigint not null,
  gpu_type text not null,
  offered_ms bigint not null,
  started_ms bigint not null,
  ended_ms bigint not null,
  offer_record text not null,
  record_id text not null,
  unique (job, number)
);
create index compute_attempts_state on compute_attempts (state, site);

-- The timeline that people read; the records it names are the evidence.
create table compute_events (
  job text not null,
  number bigint not null,
  time_ms bigint not null,
  what text not null,
  params text not null,
  record_id text not null,
  primary key (job, number)
);

-- Values are encrypted under the control plane's secrets key; names are not secret.
create table compute_secrets (
  owner text not null,
  name text not null,
  team text not null,
  value bytea not null,
  changed_ms bigint not null,
  record_id text not null,
  primary key (owner, name)
);

create table compute_images (
  owner text not null,
  name text not null,
  lock text not null,
  lock_bytes bigint not null,
  created_ms bigint not null,
  record_id text not null,
  primary key (owner, name)
);
