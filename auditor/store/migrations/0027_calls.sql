-- First, as it waits for what is under way: counts by hour that those below take the place of.
ALTER TABLE cloudtrail_rows {{.OnCluster}} DROP PROJECTION IF EXISTS by_hour_lent;

ALTER TABLE cloudtrail_rows {{.OnCluster}} DROP PROJECTION IF EXISTS by_hour_role;

-- What policies are made from, by role: of a role's calls alone there is far less to read
-- than of the table. A row of it takes some 20 bytes.
ALTER TABLE request_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_role (SELECT aws_role_arn, received_at, latency_us, service, operation, action, also, region, outcome, status, error_code, resources
        ORDER BY aws_role_arn, received_at);

-- Counts by hour and user, in which a call around postern that several accounts have a
-- record of can be counted once: all records of it but one are by the rule shared_event.
ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_hour_call (SELECT toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, lent_to, present, verdict, startsWith(judged, '1\tshared_event\t'), count()
        GROUP BY toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, lent_to, present, verdict, startsWith(judged, '1\tshared_event\t'));

-- Counts by hour of a role's records, as before, but by the role first.
ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_role (SELECT issuer_arn, toStartOfHour(event_time), event_source, event_name, error_code, present, verdict, count()
        GROUP BY issuer_arn, toStartOfHour(event_time), event_source, event_name, error_code, present, verdict);

ALTER TABLE request_rows {{.OnCluster}} MATERIALIZE PROJECTION by_role;

ALTER TABLE cloudtrail_rows {{.OnCluster}} MATERIALIZE PROJECTION by_hour_call, MATERIALIZE PROJECTION by_role;
