-- Null means what every site was before: one node to a job, leases that hold by themselves, no service asked whether
-- it is well, never out of touch.
alter table sites_sites add column nodes bigint;
alter table sites_sites add column holds_leases bigint;
alter table sites_sites add column asks_health bigint;
alter table sites_sites add column away_seconds bigint;
