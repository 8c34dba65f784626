-- Null means what every site was before: one node to a job, and never out of touch.
alter table sites_sites add column nodes bigint;
alter table sites_sites add column away_seconds bigint;
