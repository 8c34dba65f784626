-- One row: moves whenever slowly changing entities or the charter change.
create table kernel_facts (
  id bigint primary key check (id = 1),
  version bigint not null
);
insert into kernel_facts (id, version) values (1, 1);

-- Results of commands that carried an idempotency key, for repeats of the same request.
create table kernel_idempotency (
  actor text not null,
  key text not null,
  command_digest text not null,
  result bytea not null,
  record_id text not null,
  expires_ms bigint not null,
  primary key (actor, key)
);
create index kernel_idempotency_expiry on kernel_idempotency (expires_ms);

-- Denials are recorded once a minute for each actor, action and set of rules; repeats are counted here.
create table kernel_denials (
  actor text not null,
  action text not null,
  rules text not null,
  record text not null,
  recorded_ms bigint not null,
  repeats bigint not null,
  primary key (actor, action, rules)
);

-- Durable background work. A row is claimed by a lease and removed in the transaction that did the work.
create table kernel_work (
  id text primary key,
  action text not null,
  payload text not null,
  dedupe text unique,
  due_ms bigint not null,
  tries bigint not null,
  lease_token text,
  lease_until_ms bigint,
  last_error text
);
create index kernel_work_due on kernel_work (due_ms);

-- Leases by name: one holder, an epoch that only grows.
create table kernel_leases (
  name text primary key,
  holder text not null,
  epoch bigint not null,
  until_ms bigint not null
);

-- Heartbeats that change no state: lease renewals of attempts, polls of agents.
create table kernel_heartbeats (
  subject text primary key,
  at_ms bigint not null,
  until_ms bigint not null,
  note text
);

-- The last message of each lane of each agent and what it was answered, so that a repeat gets the same answer.
create table kernel_lanes (
  agent text not null,
  lane text not null,
  seq bigint not null,
  message_digest text not null,
  answer bytea not null,
  primary key (agent, lane)
);

-- Console sessions; the token is stored as a hash.
create table kernel_sessions (
  token_digest text primary key,
  account text not null,
  csrf text not null,
  language text,
  theme text,
  created_ms bigint not null,
  seen_ms bigint not null,
  expires_ms bigint not null
);

-- Failed sign-ins per source, for the rate limit.
create table kernel_logins (
  source text primary key,
  failures bigint not null,
  window_ms bigint not null
);

-- A command that needs a second person waits here; this table carries effects.
create table kernel_proposals (
  id text primary key,
  action text not null,
  command text not null,
  proposer text not null,
  created_ms bigint not null,
  expires_ms bigint not null,
  record_id text not null
);
