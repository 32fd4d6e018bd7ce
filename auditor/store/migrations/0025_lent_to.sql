-- Whose call a record is about, where the record itself names somebody else: AWS takes
-- some users' names only changed, and what a key got from STS may have any name.
ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS lent_to SimpleAggregateFunction(max, LowCardinality(String));

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD INDEX IF NOT EXISTS lent_to_index lent_to TYPE set(100) GRANULARITY 1;

-- Counts by hour and user, by that name, too.
ALTER TABLE cloudtrail_rows {{.OnCluster}} DROP PROJECTION IF EXISTS by_hour_user;

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_hour_lent (SELECT toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, lent_to, present, verdict, count()
        GROUP BY toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, lent_to, present, verdict);

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    MATERIALIZE INDEX lent_to_index, MATERIALIZE PROJECTION by_hour_lent;

CREATE OR REPLACE VIEW cloudtrail {{.OnCluster}} AS
SELECT
    event_time, recipient_account_id, event_id, event_version, event_type, event_category,
    event_source, event_name, aws_region, request_id, shared_event_id, identity_type, principal_id,
    identity_arn, identity_account_id, access_key_id, user_name, invoked_by, issuer_arn,
    role_session_name, source_identity, federated_user, federated_rule, lent_to, source_ip_address,
    user_agent, error_code, error_message, read_only, management_event, from_console,
    vpc_endpoint_id, resources, issued_access_key_id, file, record,
    toString(r.verdict) AS verdict,
    splitByChar('\t', judged)[2] AS verdict_rule,
    splitByChar('\t', judged)[3] AS verdict_detail,
    verdict_at, postern_request_id, postern_received_at
FROM cloudtrail_rows AS r FINAL
WHERE r.present
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
