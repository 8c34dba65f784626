-- A proposal whose approvers are named in it: their ids as JSON, and the digest of what exactly they are asked for.
alter table kernel_proposals add column approvers text;
alter table kernel_proposals add column binding text;

-- Who of them said yes so far; this table carries effects.
create table kernel_approvals (
  id text primary key,
  proposal text not null,
  approver text not null,
  approved_ms bigint not null,
  record_id text not null
);
create index kernel_approvals_proposal on kernel_approvals (proposal);
