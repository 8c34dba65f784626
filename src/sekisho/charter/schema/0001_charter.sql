-- One row per charter version. Texts never change after the insert; `digest` is what records call `charter`.
create table charter_versions (
  id text primary key,
  digest text not null unique,
  policies text not null,
  schema_text text not null,
  state text not null check (state in ('draft', 'active', 'retired')),
  drafted_by text not null,
  drafted_ms bigint not null,
  activated_ms bigint,
  retired_ms bigint,
  record_id text not null
);

-- At most one version is in force.
create unique index charter_versions_active on charter_versions (state) where state = 'active';
