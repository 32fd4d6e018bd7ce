-- Counts by hour of a role's records, as before, but by the role first: of one role there
-- is far less to read.
ALTER TABLE cloudtrail_rows {{.OnCluster}} DROP PROJECTION IF EXISTS by_hour_role;

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_role (SELECT issuer_arn, toStartOfHour(event_time), event_source, event_name, error_code, present, verdict, count()
        GROUP BY issuer_arn, toStartOfHour(event_time), event_source, event_name, error_code, present, verdict);

ALTER TABLE cloudtrail_rows {{.OnCluster}} MATERIALIZE PROJECTION by_role;
