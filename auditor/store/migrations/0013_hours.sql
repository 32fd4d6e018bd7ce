-- Counts by hour, kept with each part of the tables: a projection. A part has a key
-- once, so an hour that lies in one part is counted exactly by its projection, and
-- only hours of which several parts have rows (the last ones, and where something
-- came late) are merged when asked. No count is stored that a late verdict or a
-- doubled delivery could make wrong.
-- Merges make the projections again. A month that nothing was added to for a day
-- becomes one part, within the limit on the size of merges.
ALTER TABLE request_rows {{.OnCluster}}
    MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild', min_age_to_force_merge_seconds = 86400,
        min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1;

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild', min_age_to_force_merge_seconds = 86400,
        min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1;

ALTER TABLE request_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_hour (SELECT toStartOfHour(received_at), outcome, verdict, count()
        GROUP BY toStartOfHour(received_at), outcome, verdict),
    ADD PROJECTION IF NOT EXISTS by_hour_user (SELECT toStartOfHour(received_at), account, user, outcome, verdict, count()
        GROUP BY toStartOfHour(received_at), account, user, outcome, verdict);

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_hour (SELECT toStartOfHour(event_time), present, verdict, count()
        GROUP BY toStartOfHour(event_time), present, verdict),
    ADD PROJECTION IF NOT EXISTS by_hour_user (SELECT toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, present, verdict, count()
        GROUP BY toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, present, verdict),
    ADD PROJECTION IF NOT EXISTS by_hour_role (SELECT toStartOfHour(event_time), issuer_arn, event_source, event_name, error_code, present, verdict, count()
        GROUP BY toStartOfHour(event_time), issuer_arn, event_source, event_name, error_code, present, verdict);

ALTER TABLE request_rows {{.OnCluster}}
    MATERIALIZE PROJECTION by_hour, MATERIALIZE PROJECTION by_hour_user;

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    MATERIALIZE PROJECTION by_hour, MATERIALIZE PROJECTION by_hour_user, MATERIALIZE PROJECTION by_hour_role;

-- What searches leave out whole granules by. Only columns that one row of a call has
-- all together, that of its last event: ClickHouse looks in the indexes before it
-- merges, so an index on a verdict, which comes in a row of its own, together with one
-- on a user would leave out both rows.
ALTER TABLE request_rows {{.OnCluster}}
    ADD INDEX IF NOT EXISTS user_index user TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS operation_index operation TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS account_index account TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS action_index action TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS role_index aws_role_arn TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS resources_index resources TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS outcome_index outcome TYPE set(8) GRANULARITY 1;

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD INDEX IF NOT EXISTS federated_user_index federated_user TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS event_name_index event_name TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS issuer_index issuer_arn TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS resources_index resources TYPE bloom_filter(0.01) GRANULARITY 1;

-- The time of storage rises with the sequence: to find an event by when it was.
ALTER TABLE events {{.OnCluster}}
    ADD INDEX IF NOT EXISTS stored_at_index stored_at TYPE minmax GRANULARITY 1;

CREATE OR REPLACE VIEW requests_by_hour {{.OnCluster}} AS
WITH
    by_part AS (SELECT toStartOfHour(received_at) AS hour, _part AS part, account, user, outcome, verdict, count() AS calls
        FROM request_rows GROUP BY hour, part, account, user, outcome, verdict),
    shared AS (SELECT hour FROM (SELECT toStartOfHour(received_at) AS hour, _part AS part FROM request_rows GROUP BY hour, part)
        GROUP BY hour HAVING count() > 1)
SELECT hour, toString(account) AS account, toString(user) AS user, toString(outcome) AS outcome,
    if(toString(verdict) = '' AND outcome IN ('admitted', 'completed'), 'awaiting', toString(verdict)) AS verdict, calls
FROM
(
    SELECT hour, account, user, outcome, verdict, calls FROM by_part WHERE hour NOT IN (SELECT hour FROM shared)
    UNION ALL
    SELECT toStartOfHour(received_at) AS hour, account, user, outcome, verdict, count() AS calls
    FROM request_rows FINAL WHERE toStartOfHour(received_at) IN (SELECT hour FROM shared)
    GROUP BY hour, account, user, outcome, verdict
)
WHERE outcome != ''
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW cloudtrail_by_hour {{.OnCluster}} AS
WITH
    by_part AS (SELECT toStartOfHour(event_time) AS hour, _part AS part, recipient_account_id, identity_account_id, federated_user, verdict, present, count() AS events
        FROM cloudtrail_rows GROUP BY hour, part, recipient_account_id, identity_account_id, federated_user, verdict, present),
    shared AS (SELECT hour FROM (SELECT toStartOfHour(event_time) AS hour, _part AS part FROM cloudtrail_rows GROUP BY hour, part)
        GROUP BY hour HAVING count() > 1)
SELECT hour, toString(recipient_account_id) AS recipient_account_id, toString(identity_account_id) AS identity_account_id,
    toString(federated_user) AS federated_user, toString(verdict) AS verdict, events
FROM
(
    SELECT hour, recipient_account_id, identity_account_id, federated_user, verdict, present, events
    FROM by_part WHERE hour NOT IN (SELECT hour FROM shared)
    UNION ALL
    SELECT toStartOfHour(event_time) AS hour, recipient_account_id, identity_account_id, federated_user, verdict, present, count() AS events
    FROM cloudtrail_rows FINAL WHERE toStartOfHour(event_time) IN (SELECT hour FROM shared)
    GROUP BY hour, recipient_account_id, identity_account_id, federated_user, verdict, present
)
WHERE present
SETTINGS do_not_merge_across_partitions_select_final = 1;
