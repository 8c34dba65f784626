-- Null for attempts of before, and where no agent said anything: what went out, and what listeners outside observed.
alter table compute_attempts add column egress text;
alter table compute_attempts add column observed text;
