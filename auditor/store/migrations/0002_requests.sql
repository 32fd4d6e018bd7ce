-- One row a request, put together from the events about it: every column is a
-- maximum, so rows may come late, again or in any order and add up to the same.
CREATE TABLE IF NOT EXISTS request_rows {{.OnCluster}}
(
    received_at          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    request_id           String               CODEC(ZSTD(1)),
    outcome              SimpleAggregateFunction(max, Enum8('' = 0, 'admitted' = 1, 'failed' = 2, 'denied' = 3, 'completed' = 4)),
    user                 SimpleAggregateFunction(max, LowCardinality(String)),
    session_id           SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    access_request_ids   SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    app                  SimpleAggregateFunction(max, LowCardinality(String)),
    aws_role_arn         SimpleAggregateFunction(max, LowCardinality(String)),
    role_session_name    SimpleAggregateFunction(max, LowCardinality(String)),
    source_identity      SimpleAggregateFunction(max, LowCardinality(String)),
    access_key_id        SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    account              SimpleAggregateFunction(max, LowCardinality(String)),
    partition            SimpleAggregateFunction(max, LowCardinality(String)),
    region               SimpleAggregateFunction(max, LowCardinality(String)),
    service              SimpleAggregateFunction(max, LowCardinality(String)),
    signing_name         SimpleAggregateFunction(max, LowCardinality(String)),
    operation            SimpleAggregateFunction(max, LowCardinality(String)),
    action               SimpleAggregateFunction(max, LowCardinality(String)),
    access_level         SimpleAggregateFunction(max, LowCardinality(String)),
    resources            SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    method               SimpleAggregateFunction(max, LowCardinality(String)),
    host                 SimpleAggregateFunction(max, LowCardinality(String)),
    path                 SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    client_addr          SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    user_agent           SimpleAggregateFunction(max, LowCardinality(String)),
    proxy                SimpleAggregateFunction(max, LowCardinality(String)),
    role                 SimpleAggregateFunction(max, LowCardinality(String)),
    status               SimpleAggregateFunction(max, UInt16),
    aws_request_id       SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    error_code           SimpleAggregateFunction(max, LowCardinality(String)),
    request_bytes        SimpleAggregateFunction(max, Int64),
    response_bytes       SimpleAggregateFunction(max, Int64),
    latency_us           SimpleAggregateFunction(max, Int64),
    duration_us          SimpleAggregateFunction(max, Int64),
    interrupted          SimpleAggregateFunction(max, LowCardinality(String)),
    interrupted_detail   SimpleAggregateFunction(max, String),
    cause                SimpleAggregateFunction(max, LowCardinality(String)),
    reason               SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    rule                 SimpleAggregateFunction(max, LowCardinality(String)),
    lock_id              SimpleAggregateFunction(max, LowCardinality(String)),
    stage                SimpleAggregateFunction(max, LowCardinality(String)),
    admitted_event_id    SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    verdict              SimpleAggregateFunction(max, Enum8('' = 0, 'missing' = 1, 'mismatched' = 8, 'matched' = 9)),
    judged               SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    verdict_at           SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    cloudtrail_account   SimpleAggregateFunction(max, LowCardinality(String)),
    cloudtrail_event_id  SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    cloudtrail_time      SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    INDEX request_id_index request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX aws_request_id_index aws_request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX access_key_id_index access_key_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX session_id_index session_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, request_id);

-- requests is what people read: the admitted row is superseded by the completed,
-- denied or failed one.
CREATE OR REPLACE VIEW requests {{.OnCluster}} AS
SELECT
    received_at, request_id, toString(r.outcome) AS outcome, user, session_id, access_request_ids, app,
    aws_role_arn, role_session_name, source_identity, access_key_id, account, partition, region,
    service, signing_name, operation, action, access_level, resources, method, host, path,
    client_addr, user_agent, proxy, role, status, aws_request_id, error_code, request_bytes,
    response_bytes, latency_us, duration_us, interrupted, interrupted_detail, cause, reason, rule,
    lock_id, stage, admitted_event_id,
    if(r.verdict = '' AND r.outcome IN ('admitted', 'completed'), 'awaiting', toString(r.verdict)) AS verdict,
    splitByChar('\t', judged)[2] AS verdict_rule,
    splitByChar('\t', judged)[3] AS verdict_detail,
    verdict_at, cloudtrail_account, cloudtrail_event_id, cloudtrail_time
FROM request_rows AS r FINAL
WHERE r.outcome != ''
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The temporary credentials that postern got from STS.
CREATE TABLE IF NOT EXISTS credential_rows {{.OnCluster}}
(
    access_key_id     String,
    session_id        String,
    user              LowCardinality(String),
    app               LowCardinality(String),
    aws_role_arn      LowCardinality(String),
    account           LowCardinality(String),
    role_session_name LowCardinality(String),
    source_identity   LowCardinality(String),
    assumed_role_id   String,
    issued_at         DateTime64(6, 'UTC'),
    expires_at        DateTime64(6, 'UTC'),
    use               LowCardinality(String),
    proxy             LowCardinality(String)
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (access_key_id, use);

CREATE OR REPLACE VIEW credentials {{.OnCluster}} AS
SELECT access_key_id, session_id, user, app, aws_role_arn, account, role_session_name,
    source_identity, assumed_role_id, issued_at, expires_at, use, proxy
FROM credential_rows FINAL;
