-- One row a tunnel, put together from its two events: every column is a maximum,
-- as in request_rows.
CREATE TABLE IF NOT EXISTS tunnel_rows {{.OnCluster}}
(
    opened_at          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    tunnel_id          String               CODEC(ZSTD(1)),
    closed_at          SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    user               SimpleAggregateFunction(max, LowCardinality(String)),
    session_id         SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    access_request_ids SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    app                SimpleAggregateFunction(max, LowCardinality(String)),
    aws_role_arn       SimpleAggregateFunction(max, LowCardinality(String)),
    role_session_name  SimpleAggregateFunction(max, LowCardinality(String)),
    account            SimpleAggregateFunction(max, LowCardinality(String)),
    region             SimpleAggregateFunction(max, LowCardinality(String)),
    service            SimpleAggregateFunction(max, LowCardinality(String)),
    operation          SimpleAggregateFunction(max, LowCardinality(String)),
    host               SimpleAggregateFunction(max, LowCardinality(String)),
    client_addr        SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    user_agent         SimpleAggregateFunction(max, LowCardinality(String)),
    proxy              SimpleAggregateFunction(max, LowCardinality(String)),
    role               SimpleAggregateFunction(max, LowCardinality(String)),
    start_request_id   SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    start_operation    SimpleAggregateFunction(max, LowCardinality(String)),
    sent_bytes         SimpleAggregateFunction(max, Int64),
    received_bytes     SimpleAggregateFunction(max, Int64),
    duration_us        SimpleAggregateFunction(max, Int64),
    interrupted        SimpleAggregateFunction(max, LowCardinality(String)),
    interrupted_detail SimpleAggregateFunction(max, String),
    INDEX session_id_index session_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX start_request_id_index start_request_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
PARTITION BY toYYYYMM(opened_at)
ORDER BY (opened_at, tunnel_id);

CREATE OR REPLACE VIEW tunnels {{.OnCluster}} AS
SELECT tunnel_id, opened_at,
    if(toUnixTimestamp64Micro(t.closed_at) = 0, NULL, t.closed_at) AS closed_at,
    if(toUnixTimestamp64Micro(t.closed_at) = 0, 'open', 'closed') AS state,
    user, session_id, access_request_ids, app, aws_role_arn, role_session_name, account, region,
    service, operation, host, client_addr, user_agent, proxy, role, start_request_id,
    start_operation, sent_bytes, received_bytes, duration_us, interrupted, interrupted_detail
FROM tunnel_rows AS t FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
