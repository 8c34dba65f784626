-- Organisations. Where they sit and who controls them are facts with a grade, in identity_facts.
create table identity_organisations (
  id text primary key,
  name text not null,
  created_ms bigint not null,
  record_id text not null
);

-- Everybody who can ask: people, service accounts, site agents. The id is the pseudonym that records carry; it
-- outlives an erasure. Every write that changes what a principal may do also writes this row, so that its
-- record_id is the version of the principal.
create table identity_accounts (
  id text primary key,
  kind text not null,
  organisation text not null references identity_organisations (id),
  state text not null,
  created_ms bigint not null,
  record_id text not null
);
create index identity_accounts_organisation on identity_accounts (organisation, kind, id);

-- The only place with names of people. A row goes when its person is erased. The salt keeps the row's digest in
-- the evidence from confirming a guessed name or address.
create table identity_people (
  account text primary key references identity_accounts (id),
  display_name text not null,
  email text not null,
  joined_ms bigint,
  salt text not null,
  record_id text not null
);

create table identity_services (
  account text primary key references identity_accounts (id),
  name text not null,
  record_id text not null
);

create table identity_agents (
  account text primary key references identity_accounts (id),
  site text not null,
  name text not null,
  public_key text not null unique,
  record_id text not null
);
create index identity_agents_site on identity_agents (site, account);

-- What is known of an organisation or a person: a JSON value, how it is known, by whom, since when, until when.
create table identity_facts (
  subject text not null,
  name text not null,
  subject_type text not null,
  value text not null,
  grade text not null,
  issuer text not null,
  source text not null,
  observed_ms bigint not null,
  expires_ms bigint,
  salt text not null,
  record_id text not null,
  primary key (subject, name)
);
create index identity_facts_type on identity_facts (subject_type, subject);

create table identity_teams (
  id text primary key,
  organisation text not null references identity_organisations (id),
  name text not null,
  created_ms bigint not null,
  record_id text not null
);
create index identity_teams_organisation on identity_teams (organisation, id);

create table identity_members (
  team text not null references identity_teams (id),
  account text not null references identity_accounts (id),
  record_id text not null,
  primary key (team, account)
);
create index identity_members_account on identity_members (account);

-- A role holds in the account's own organisation. `origin` is `hand` or the issuer whose groups gave the role.
create table identity_roles (
  account text not null references identity_accounts (id),
  role text not null,
  origin text not null,
  granted_ms bigint not null,
  record_id text not null,
  primary key (account, role, origin)
);
create index identity_roles_role on identity_roles (role);

-- Tokens and one-time links by the SHA-256 of their text, never in clear.
create table identity_tokens (
  id text primary key,
  account text not null references identity_accounts (id),
  purpose text not null,
  label text not null,
  digest text not null,
  scopes text not null,
  created_ms bigint not null,
  expires_ms bigint not null,
  revoked_ms bigint,
  record_id text not null
);
create index identity_tokens_account on identity_tokens (account, id);

-- One-time codes with which an agent introduces itself; the row goes when the code is used.
create table identity_invitations (
  digest text primary key,
  site text not null,
  organisation text not null references identity_organisations (id),
  created_ms bigint not null,
  expires_ms bigint not null,
  record_id text not null
);

-- Accounts of outside identity providers, bound by issuer and subject, never by e-mail address.
create table identity_logins (
  issuer text not null,
  subject text not null,
  account text not null references identity_accounts (id),
  salt text not null,
  record_id text not null,
  primary key (issuer, subject)
);
create index identity_logins_account on identity_logins (account);
