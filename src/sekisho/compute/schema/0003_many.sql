-- By name within an organisation: without it, each look at one job reads all of them.
create index compute_jobs_name on compute_jobs (owner, name);
-- How many members of an array are in which state, without reading their files.
create index compute_jobs_counts on compute_jobs (array_job, state);
-- Pages of jobs that are no members, newest first.
create index compute_jobs_pages on compute_jobs (array_job, id);
