-- One row a CloudTrail record, by (recipient_account_id, event_id); event_time
-- never differs between deliveries of one record. As in request_rows, rows may
-- come again or in any order.
CREATE TABLE IF NOT EXISTS cloudtrail_rows {{.OnCluster}}
(
    event_time           DateTime64(6, 'UTC')   CODEC(Delta, ZSTD(1)),
    recipient_account_id LowCardinality(String),
    event_id             String                 CODEC(ZSTD(1)),
    event_version        SimpleAggregateFunction(max, LowCardinality(String)),
    event_type           SimpleAggregateFunction(max, LowCardinality(String)),
    event_category       SimpleAggregateFunction(max, LowCardinality(String)),
    event_source         SimpleAggregateFunction(max, LowCardinality(String)),
    event_name           SimpleAggregateFunction(max, LowCardinality(String)),
    aws_region           SimpleAggregateFunction(max, LowCardinality(String)),
    request_id           SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    shared_event_id      SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    identity_type        SimpleAggregateFunction(max, LowCardinality(String)),
    principal_id         SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    identity_arn         SimpleAggregateFunction(max, LowCardinality(String)),
    identity_account_id  SimpleAggregateFunction(max, LowCardinality(String)),
    access_key_id        SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    user_name            SimpleAggregateFunction(max, LowCardinality(String)),
    invoked_by           SimpleAggregateFunction(max, LowCardinality(String)),
    issuer_arn           SimpleAggregateFunction(max, LowCardinality(String)),
    role_session_name    SimpleAggregateFunction(max, LowCardinality(String)),
    source_identity      SimpleAggregateFunction(max, LowCardinality(String)),
    federated_user       SimpleAggregateFunction(max, LowCardinality(String)),
    federated_rule       SimpleAggregateFunction(max, LowCardinality(String)),
    source_ip_address    SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    user_agent           SimpleAggregateFunction(max, LowCardinality(String)),
    error_code           SimpleAggregateFunction(max, LowCardinality(String)),
    error_message        SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    read_only            SimpleAggregateFunction(max, Bool),
    management_event     SimpleAggregateFunction(max, Bool),
    from_console         SimpleAggregateFunction(max, Bool),
    vpc_endpoint_id      SimpleAggregateFunction(max, LowCardinality(String)),
    resources            SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    issued_access_key_id SimpleAggregateFunction(max, String),
    file                 SimpleAggregateFunction(max, LowCardinality(String)),
    record               SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    present              SimpleAggregateFunction(max, Bool),
    verdict              SimpleAggregateFunction(max, Enum8('' = 0, 'bypass' = 1, 'proxied' = 2, 'console' = 3, 'forwarded' = 4, 'credentials' = 5, 'mismatched' = 8, 'matched' = 9)),
    judged               SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    verdict_at           SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    postern_request_id   SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    postern_received_at  SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    INDEX event_id_index event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX request_id_index request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX access_key_id_index access_key_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(event_time)
ORDER BY (event_time, recipient_account_id, event_id);

CREATE OR REPLACE VIEW cloudtrail {{.OnCluster}} AS
SELECT
    event_time, recipient_account_id, event_id, event_version, event_type, event_category,
    event_source, event_name, aws_region, request_id, shared_event_id, identity_type, principal_id,
    identity_arn, identity_account_id, access_key_id, user_name, invoked_by, issuer_arn,
    role_session_name, source_identity, federated_user, federated_rule, source_ip_address,
    user_agent, error_code, error_message, read_only, management_event, from_console,
    vpc_endpoint_id, resources, issued_access_key_id, file, record,
    toString(r.verdict) AS verdict,
    splitByChar('\t', judged)[2] AS verdict_rule,
    splitByChar('\t', judged)[3] AS verdict_detail,
    verdict_at, postern_request_id, postern_received_at
FROM cloudtrail_rows AS r FINAL
WHERE r.present
SETTINGS do_not_merge_across_partitions_select_final = 1;
