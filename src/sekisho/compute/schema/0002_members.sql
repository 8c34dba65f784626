-- An array is a job that is never placed; its members name it. Null for every other job.
alter table compute_jobs add column array_job text;
alter table compute_jobs add column array_index bigint;
create index compute_jobs_array on compute_jobs (array_job, array_index);
-- A replica that ends again and again is left alone for a while.
alter table compute_jobs add column not_before_ms bigint;
