-- What may leave: one row for each export that all its approvers agreed to. `approvers` is a JSON array of account ids,
-- `object` the digest they agreed to; bytes that come in for a release do so under its id.
create table data_releases (
  id text primary key,
  artefact text not null,
  owner text not null,
  object text not null,
  object_kind text not null,
  size_bytes bigint not null,
  destination text not null,
  licence text not null,
  reason text not null,
  requester text not null,
  approvers text not null,
  proposal text not null,
  created_ms bigint not null,
  expires_ms bigint not null,
  record_id text not null
);
create index data_releases_artefact on data_releases (artefact, id);
create index data_releases_proposal on data_releases (proposal);

-- The site whose attempt left it behind, which alone is asked for its bytes: who else holds the same digest says nothing
-- of whose it is there. Null where it was not left behind by an attempt.
alter table data_artefacts add column site text;

-- A renewal looks at the newest decision about each key of an attempt, which may have asked ten thousand times.
create index data_key_releases_newest on data_key_releases (attempt, key, id);

-- How many witnesses must have cosigned the checkpoint under which a key's custodian takes an order. Null for none.
alter table data_keys add column quorum bigint;

-- Each time something is left behind or added it is asked what else the same encrypted object is.
create index data_datasets_envelope on data_datasets (envelope);
create index data_artefacts_envelope on data_artefacts (envelope);

-- JSON arrays of version numbers: those that custodians have named and not destroyed, and those they have destroyed, by
-- their own evidence. Null where no more is known than the newest version: then every one before it may be there.
alter table data_keys add column versions text;
alter table data_keys add column destroyed text;
