-- What the resources of a call lie in, by the part of their names before the first
-- slash (a bucket, the tables of an account): a search for all in one place
-- (arn:aws:s3:::bucket/*) leaves out whole granules by it.
ALTER TABLE request_rows {{.OnCluster}}
    ADD INDEX IF NOT EXISTS places_index arrayMap(r -> substringIndex(r, '/', 1), resources) TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD INDEX IF NOT EXISTS places_index arrayMap(r -> substringIndex(r, '/', 1), resources) TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE request_rows {{.OnCluster}} MATERIALIZE INDEX places_index;

ALTER TABLE cloudtrail_rows {{.OnCluster}} MATERIALIZE INDEX places_index;

-- As before, but a part that was never merged may have a key twice.
CREATE OR REPLACE VIEW requests_by_hour {{.OnCluster}} AS
WITH
    by_part AS (SELECT toStartOfHour(received_at) AS hour, _part AS part, account, user, outcome, verdict, count() AS calls
        FROM request_rows GROUP BY hour, part, account, user, outcome, verdict),
    shared AS (SELECT hour FROM (SELECT toStartOfHour(received_at) AS hour, _part AS part FROM request_rows GROUP BY hour, part)
        GROUP BY hour HAVING count() > 1 OR max(match(part, '_0(_[0-9]+)?$')))
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
        GROUP BY hour HAVING count() > 1 OR max(match(part, '_0(_[0-9]+)?$')))
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
