-- Made from migrations/*.sql by go generate: do not edit.

CREATE TABLE IF NOT EXISTS access_request_rows
(
    `request_id` String,
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `roles` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `resources` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `reason` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `ttl_seconds` SimpleAggregateFunction(max, Int64),
    `created_at` SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    `expires_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `reviews` SimpleAggregateFunction(groupUniqArrayArray, Array(Tuple(
        DateTime64(9, 'UTC'),
        String,
        String,
        String))),
    `resolution` SimpleAggregateFunction(max, Tuple(
        UInt64,
        String)),
    `reviewers` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `access_expires_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY request_id
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS aws_token_rows
(
    `access_key_id` String,
    `issued_at` DateTime64(6, 'UTC'),
    `request_id` String,
    `kind` LowCardinality(String),
    `user` LowCardinality(String),
    `session_id` String,
    `app` LowCardinality(String),
    `aws_role_arn` LowCardinality(String),
    `account` LowCardinality(String),
    `role_session_name` LowCardinality(String),
    `region` LowCardinality(String),
    `service` LowCardinality(String),
    `signing_name` LowCardinality(String),
    `operation` LowCardinality(String),
    `resources` Array(String) CODEC(ZSTD(1)),
    `expires_at` DateTime64(6, 'UTC'),
    `proxy` LowCardinality(String),
    `rule` LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (access_key_id, issued_at, request_id)
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS cloudtrail_rows
(
    `event_time` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `recipient_account_id` LowCardinality(String),
    `event_id` String CODEC(ZSTD(1)),
    `event_version` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_type` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_category` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_source` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_region` SimpleAggregateFunction(max, LowCardinality(String)),
    `request_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `shared_event_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `identity_type` SimpleAggregateFunction(max, LowCardinality(String)),
    `principal_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `identity_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `identity_account_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `access_key_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `user_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `invoked_by` SimpleAggregateFunction(max, LowCardinality(String)),
    `issuer_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_identity` SimpleAggregateFunction(max, LowCardinality(String)),
    `federated_user` SimpleAggregateFunction(max, LowCardinality(String)),
    `federated_rule` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_ip_address` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `user_agent` SimpleAggregateFunction(max, LowCardinality(String)),
    `error_code` SimpleAggregateFunction(max, LowCardinality(String)),
    `error_message` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `read_only` SimpleAggregateFunction(max, Bool),
    `management_event` SimpleAggregateFunction(max, Bool),
    `from_console` SimpleAggregateFunction(max, Bool),
    `vpc_endpoint_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `resources` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `issued_access_key_id` SimpleAggregateFunction(max, String),
    `file` SimpleAggregateFunction(max, LowCardinality(String)),
    `record` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `present` SimpleAggregateFunction(max, Bool),
    `verdict` SimpleAggregateFunction(max, Enum8('' = 0, 'bypass' = 1, 'proxied' = 2, 'console' = 3, 'forwarded' = 4, 'credentials' = 5, 'exported' = 6, 'token' = 7, 'mismatched' = 8, 'matched' = 9)),
    `judged` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `verdict_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `postern_request_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `postern_received_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `lent_to` SimpleAggregateFunction(max, LowCardinality(String)),
    INDEX event_id_index event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX request_id_index request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX access_key_id_index access_key_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX federated_user_index federated_user TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX event_name_index event_name TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX issuer_index issuer_arn TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX resources_index resources TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX places_index arrayMap(r -> substringIndex(r, '/', 1), resources) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX lent_to_index lent_to TYPE set(100) GRANULARITY 1,
    PROJECTION by_hour
    (
        SELECT
            toStartOfHour(event_time),
            present,
            verdict,
            count()
        GROUP BY
            toStartOfHour(event_time),
            present,
            verdict
    ),
    PROJECTION by_role
    (
        SELECT
            issuer_arn,
            toStartOfHour(event_time),
            event_source,
            event_name,
            error_code,
            present,
            verdict,
            count()
        GROUP BY
            issuer_arn,
            toStartOfHour(event_time),
            event_source,
            event_name,
            error_code,
            present,
            verdict
    ),
    PROJECTION by_verdict
    (
        SELECT
            verdict,
            toStartOfHour(event_time),
            recipient_account_id,
            identity_account_id,
            federated_user,
            lent_to,
            present,
            startsWith(judged, '1\tshared_event\t'),
            count()
        GROUP BY
            verdict,
            toStartOfHour(event_time),
            recipient_account_id,
            identity_account_id,
            federated_user,
            lent_to,
            present,
            startsWith(judged, '1\tshared_event\t')
    ),
    PROJECTION roles
    (
        SELECT
            issuer_arn,
            count()
        GROUP BY issuer_arn
    )
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(event_time)
ORDER BY (event_time, recipient_account_id, event_id)
SETTINGS index_granularity = 8192, deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild', min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1, merge_selector_base = 10
COMMENT 'records of CloudTrail: read them by the view cloudtrail';
CREATE TABLE IF NOT EXISTS credential_rows
(
    `access_key_id` String,
    `session_id` String,
    `user` LowCardinality(String),
    `app` LowCardinality(String),
    `aws_role_arn` LowCardinality(String),
    `account` LowCardinality(String),
    `role_session_name` LowCardinality(String),
    `source_identity` LowCardinality(String),
    `assumed_role_id` String,
    `issued_at` DateTime64(6, 'UTC'),
    `expires_at` DateTime64(6, 'UTC'),
    `use` LowCardinality(String),
    `proxy` LowCardinality(String),
    `handed_out` Bool DEFAULT use = 'export',
    `rule` LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (access_key_id, use)
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS dead_letter_rows
(
    `letter_id` String,
    `kind` SimpleAggregateFunction(max, LowCardinality(String)),
    `source` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `message_id` SimpleAggregateFunction(max, String),
    `body` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `reason` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `rejected_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `replayed_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `replayed_by` SimpleAggregateFunction(max, String)
)
ENGINE = AggregatingMergeTree
ORDER BY letter_id
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS events
(
    `stream` LowCardinality(String),
    `seq` UInt64 CODEC(Delta(8), ZSTD(1)),
    `stored_at` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `event_id` String CODEC(ZSTD(1)),
    `type` LowCardinality(String),
    `source` LowCardinality(String),
    `channel` String CODEC(ZSTD(1)),
    `thing` String CODEC(ZSTD(1)),
    `event_time` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `correlation_id` String CODEC(ZSTD(1)),
    `causation_id` String CODEC(ZSTD(1)),
    `sequence` UInt64 CODEC(Delta(8), ZSTD(1)),
    `problem` String CODEC(ZSTD(1)),
    `raw` String CODEC(ZSTD(1)),
    `data` String ALIAS JSONExtractRaw(raw, 'data'),
    `hash` String ALIAS lower(hex(SHA256(concat(channel, '\n', toString(toUnixTimestamp64Nano(stored_at)), '\n', raw)))),
    `signature` LowCardinality(String),
    `signature_reason` String CODEC(ZSTD(1)),
    INDEX event_id_index event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX thing_index thing TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX correlation_id_index correlation_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX stored_at_index stored_at TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY (stream, toYYYYMM(stored_at))
ORDER BY (stream, seq)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192, merge_selector_base = 10
COMMENT 'the ledger: one row for each message of each stream, whole';
CREATE TABLE IF NOT EXISTS finding_rows
(
    `finding_id` String,
    `kind` SimpleAggregateFunction(max, LowCardinality(String)),
    `severity` SimpleAggregateFunction(max, LowCardinality(String)),
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `request_id` SimpleAggregateFunction(max, String),
    `recipient_account_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_id` SimpleAggregateFunction(max, String),
    `summary` SimpleAggregateFunction(max, String),
    `opened_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `resolved_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `resolve_reason` SimpleAggregateFunction(max, String)
)
ENGINE = AggregatingMergeTree
ORDER BY finding_id
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS ledger_floors
(
    `stream` LowCardinality(String),
    `floor` UInt64,
    `at` DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(floor)
ORDER BY stream
SETTINGS index_granularity = 8192
COMMENT 'up to where each stream is stored without a gap; marks of who reads the ledger';
CREATE TABLE IF NOT EXISTS lock_rows
(
    `lock_id` String,
    `target_kind` SimpleAggregateFunction(max, LowCardinality(String)),
    `target_name` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `message` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `placed_by` SimpleAggregateFunction(max, LowCardinality(String)),
    `placed_at` SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    `expires_at` SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    `lifted_at` SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    `lifted_by` SimpleAggregateFunction(max, LowCardinality(String))
)
ENGINE = AggregatingMergeTree
ORDER BY lock_id
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS request_rows
(
    `received_at` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `request_id` String CODEC(ZSTD(1)),
    `outcome` SimpleAggregateFunction(max, Enum8('' = 0, 'admitted' = 1, 'failed' = 2, 'denied' = 3, 'completed' = 4)),
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `session_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `access_request_ids` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `app` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_role_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_identity` SimpleAggregateFunction(max, LowCardinality(String)),
    `access_key_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `partition` SimpleAggregateFunction(max, LowCardinality(String)),
    `region` SimpleAggregateFunction(max, LowCardinality(String)),
    `service` SimpleAggregateFunction(max, LowCardinality(String)),
    `signing_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `operation` SimpleAggregateFunction(max, LowCardinality(String)),
    `action` SimpleAggregateFunction(max, LowCardinality(String)),
    `access_level` SimpleAggregateFunction(max, LowCardinality(String)),
    `resources` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `method` SimpleAggregateFunction(max, LowCardinality(String)),
    `host` SimpleAggregateFunction(max, LowCardinality(String)),
    `path` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `client_addr` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `user_agent` SimpleAggregateFunction(max, LowCardinality(String)),
    `proxy` SimpleAggregateFunction(max, LowCardinality(String)),
    `role` SimpleAggregateFunction(max, LowCardinality(String)),
    `status` SimpleAggregateFunction(max, UInt16),
    `aws_request_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `error_code` SimpleAggregateFunction(max, LowCardinality(String)),
    `request_bytes` SimpleAggregateFunction(max, Int64),
    `response_bytes` SimpleAggregateFunction(max, Int64),
    `latency_us` SimpleAggregateFunction(max, Int64),
    `duration_us` SimpleAggregateFunction(max, Int64),
    `interrupted` SimpleAggregateFunction(max, LowCardinality(String)),
    `interrupted_detail` SimpleAggregateFunction(max, String),
    `cause` SimpleAggregateFunction(max, LowCardinality(String)),
    `reason` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `rule` SimpleAggregateFunction(max, LowCardinality(String)),
    `lock_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `stage` SimpleAggregateFunction(max, LowCardinality(String)),
    `admitted_event_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `verdict` SimpleAggregateFunction(max, Enum8('' = 0, 'missing' = 1, 'not_logged' = 2, 'mismatched' = 8, 'matched' = 9)),
    `judged` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `verdict_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `cloudtrail_account` SimpleAggregateFunction(max, LowCardinality(String)),
    `cloudtrail_event_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `cloudtrail_time` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `also` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    INDEX request_id_index request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX aws_request_id_index aws_request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX access_key_id_index access_key_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX session_id_index session_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX user_index user TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX operation_index operation TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX account_index account TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX action_index action TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX role_index aws_role_arn TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX resources_index resources TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX outcome_index outcome TYPE set(8) GRANULARITY 1,
    INDEX places_index arrayMap(r -> substringIndex(r, '/', 1), resources) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX also_index also TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION by_hour
    (
        SELECT
            toStartOfHour(received_at),
            outcome,
            verdict,
            count()
        GROUP BY
            toStartOfHour(received_at),
            outcome,
            verdict
    ),
    PROJECTION by_role
    (
        SELECT
            aws_role_arn,
            received_at,
            latency_us,
            service,
            operation,
            action,
            also,
            region,
            outcome,
            status,
            error_code,
            resources
        ORDER BY
            aws_role_arn,
            received_at
    ),
    PROJECTION by_verdict
    (
        SELECT
            verdict,
            toStartOfHour(received_at),
            account,
            user,
            outcome,
            count()
        GROUP BY
            verdict,
            toStartOfHour(received_at),
            account,
            user,
            outcome
    ),
    PROJECTION roles
    (
        SELECT
            aws_role_arn,
            count()
        GROUP BY aws_role_arn
    )
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, request_id)
SETTINGS index_granularity = 8192, deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild', min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1, merge_selector_base = 10
COMMENT 'calls through postern: read them by the view requests';
CREATE TABLE IF NOT EXISTS session_rows
(
    `session_id` String,
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `app` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_role_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `region` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_identity` SimpleAggregateFunction(max, LowCardinality(String)),
    `roles` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `access_request_ids` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `client_addr` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `started_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `expires_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `ended_at` SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    `ended_by` SimpleAggregateFunction(max, LowCardinality(String)),
    `end_reason` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `started_event_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `other_roles` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `device` SimpleAggregateFunction(max, String) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY session_id
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS trail_digest_rows
(
    `account` LowCardinality(String),
    `region` LowCardinality(String),
    `trail` LowCardinality(String),
    `home_region` LowCardinality(String),
    `bucket` LowCardinality(String),
    `key` String CODEC(ZSTD(1)),
    `backfill` Bool,
    `start_time` DateTime64(6, 'UTC'),
    `end_time` DateTime64(6, 'UTC'),
    `verdict` LowCardinality(String),
    `reason` String CODEC(ZSTD(1)),
    `previous_key` String CODEC(ZSTD(1)),
    `signature` String CODEC(ZSTD(1)),
    `sha256` String CODEC(ZSTD(1)),
    `logs` UInt32,
    `logs_invalid` Array(Tuple(
        file String,
        reason String)) CODEC(ZSTD(1)),
    `checked_at` DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(checked_at)
ORDER BY (bucket, account, region, trail, backfill, key)
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS trail_file_rows
(
    `file` String CODEC(ZSTD(1)),
    `account` LowCardinality(String),
    `region` LowCardinality(String),
    `records` UInt32,
    `sha256` String CODEC(ZSTD(1)),
    `etag` String CODEC(ZSTD(1)),
    `received_at` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY file
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS trail_rows
(
    `trail_arn` String,
    `account` LowCardinality(String),
    `name` LowCardinality(String),
    `home_region` LowCardinality(String),
    `bucket` LowCardinality(String),
    `prefix` String,
    `multi_region` Bool,
    `organization` Bool,
    `validation` Bool,
    `logging` Bool,
    `event_selectors` String,
    `advanced_event_selectors` String,
    `observed_at` DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(observed_at)
ORDER BY trail_arn
SETTINGS index_granularity = 8192;
CREATE TABLE IF NOT EXISTS tunnel_rows
(
    `opened_at` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `tunnel_id` String CODEC(ZSTD(1)),
    `closed_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `session_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `access_request_ids` SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    `app` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_role_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `region` SimpleAggregateFunction(max, LowCardinality(String)),
    `service` SimpleAggregateFunction(max, LowCardinality(String)),
    `operation` SimpleAggregateFunction(max, LowCardinality(String)),
    `host` SimpleAggregateFunction(max, LowCardinality(String)),
    `client_addr` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `user_agent` SimpleAggregateFunction(max, LowCardinality(String)),
    `proxy` SimpleAggregateFunction(max, LowCardinality(String)),
    `role` SimpleAggregateFunction(max, LowCardinality(String)),
    `start_request_id` SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    `start_operation` SimpleAggregateFunction(max, LowCardinality(String)),
    `sent_bytes` SimpleAggregateFunction(max, Int64),
    `received_bytes` SimpleAggregateFunction(max, Int64),
    `duration_us` SimpleAggregateFunction(max, Int64),
    `interrupted` SimpleAggregateFunction(max, LowCardinality(String)),
    `interrupted_detail` SimpleAggregateFunction(max, String),
    `rule` SimpleAggregateFunction(max, LowCardinality(String)),
    INDEX session_id_index session_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX start_request_id_index start_request_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(opened_at)
ORDER BY (opened_at, tunnel_id)
SETTINGS index_granularity = 8192;
CREATE VIEW IF NOT EXISTS access_events
(
    `seq` UInt64,
    `stored_at` DateTime64(9, 'UTC'),
    `event_id` String,
    `type` LowCardinality(String),
    `kind` String,
    `name` String,
    `thing` String,
    `event_time` DateTime64(9, 'UTC'),
    `source` LowCardinality(String),
    `channel` String,
    `correlation_id` String,
    `causation_id` String,
    `sequence` UInt64,
    `signature` LowCardinality(String),
    `signature_reason` String,
    `genuine` UInt8,
    `user` String,
    `actor` String,
    `data` String
)
AS SELECT
    seq,
    stored_at,
    event_id,
    type,
    splitByChar('/', thing)[1] AS kind,
    substring(thing, position(thing, '/') + 1) AS name,
    thing,
    event_time,
    source,
    channel,
    correlation_id,
    causation_id,
    sequence,
    signature,
    signature_reason,
    CAST(signature, 'String') IN ('', 'valid') AS genuine,
    multiIf(JSONHas(raw, 'data', 'user'), JSONExtractString(raw, 'data', 'user'), kind = 'user', name, '') AS user,
    multiIf(JSONHas(raw, 'data', 'by'), JSONExtractString(raw, 'data', 'by'), JSONHas(raw, 'data', 'reviewer'), JSONExtractString(raw, 'data', 'reviewer'), JSONExtractString(raw, 'data', 'user')) AS actor,
    JSONExtractRaw(raw, 'data') AS data
FROM events
WHERE stream = 'ACCESS';
CREATE VIEW IF NOT EXISTS access_requests
(
    `request_id` String,
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `roles` SimpleAggregateFunction(max, Array(String)),
    `resources` SimpleAggregateFunction(max, Array(String)),
    `reason` SimpleAggregateFunction(max, String),
    `ttl_seconds` SimpleAggregateFunction(max, Int64),
    `created_at` DateTime64(9, 'UTC'),
    `expires_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `reviews` SimpleAggregateFunction(groupUniqArrayArray, Array(Tuple(
        DateTime64(9, 'UTC'),
        String,
        String,
        String))),
    `state` String,
    `reviewers` SimpleAggregateFunction(max, Array(String)),
    `access_expires_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
AS SELECT
    request_id,
    user,
    roles,
    resources,
    reason,
    ttl_seconds,
    assumeNotNull(r.created_at) AS created_at,
    expires_at,
    reviews,
    if((r.resolution.2) = '', 'pending', r.resolution.2) AS state,
    reviewers,
    access_expires_at
FROM access_request_rows AS r
FINAL
WHERE r.created_at IS NOT NULL;
CREATE VIEW IF NOT EXISTS aws_tokens
(
    `access_key_id` String,
    `issued_at` DateTime64(6, 'UTC'),
    `request_id` String,
    `kind` LowCardinality(String),
    `user` LowCardinality(String),
    `session_id` String,
    `app` LowCardinality(String),
    `aws_role_arn` LowCardinality(String),
    `account` LowCardinality(String),
    `role_session_name` LowCardinality(String),
    `region` LowCardinality(String),
    `service` LowCardinality(String),
    `signing_name` LowCardinality(String),
    `operation` LowCardinality(String),
    `resources` Array(String),
    `expires_at` DateTime64(6, 'UTC'),
    `rule` LowCardinality(String),
    `proxy` LowCardinality(String)
)
AS SELECT
    access_key_id,
    issued_at,
    request_id,
    kind,
    user,
    session_id,
    app,
    aws_role_arn,
    account,
    role_session_name,
    region,
    service,
    signing_name,
    operation,
    resources,
    expires_at,
    rule,
    proxy
FROM aws_token_rows
FINAL;
CREATE VIEW IF NOT EXISTS cloudtrail
(
    `event_time` DateTime64(6, 'UTC'),
    `recipient_account_id` LowCardinality(String),
    `event_id` String,
    `event_version` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_type` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_category` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_source` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_region` SimpleAggregateFunction(max, LowCardinality(String)),
    `request_id` SimpleAggregateFunction(max, String),
    `shared_event_id` SimpleAggregateFunction(max, String),
    `identity_type` SimpleAggregateFunction(max, LowCardinality(String)),
    `principal_id` SimpleAggregateFunction(max, String),
    `identity_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `identity_account_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `access_key_id` SimpleAggregateFunction(max, String),
    `user_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `invoked_by` SimpleAggregateFunction(max, LowCardinality(String)),
    `issuer_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_identity` SimpleAggregateFunction(max, LowCardinality(String)),
    `federated_user` SimpleAggregateFunction(max, LowCardinality(String)),
    `federated_rule` SimpleAggregateFunction(max, LowCardinality(String)),
    `lent_to` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_ip_address` SimpleAggregateFunction(max, String),
    `user_agent` SimpleAggregateFunction(max, LowCardinality(String)),
    `error_code` SimpleAggregateFunction(max, LowCardinality(String)),
    `error_message` SimpleAggregateFunction(max, String),
    `read_only` SimpleAggregateFunction(max, Bool),
    `management_event` SimpleAggregateFunction(max, Bool),
    `from_console` SimpleAggregateFunction(max, Bool),
    `vpc_endpoint_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `resources` SimpleAggregateFunction(max, Array(String)),
    `issued_access_key_id` SimpleAggregateFunction(max, String),
    `file` SimpleAggregateFunction(max, LowCardinality(String)),
    `record` SimpleAggregateFunction(max, String),
    `verdict` String,
    `verdict_rule` String,
    `verdict_detail` String,
    `verdict_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `postern_request_id` SimpleAggregateFunction(max, String),
    `postern_received_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
AS SELECT
    event_time,
    recipient_account_id,
    event_id,
    event_version,
    event_type,
    event_category,
    event_source,
    event_name,
    aws_region,
    request_id,
    shared_event_id,
    identity_type,
    principal_id,
    identity_arn,
    identity_account_id,
    access_key_id,
    user_name,
    invoked_by,
    issuer_arn,
    role_session_name,
    source_identity,
    federated_user,
    federated_rule,
    lent_to,
    source_ip_address,
    user_agent,
    error_code,
    error_message,
    read_only,
    management_event,
    from_console,
    vpc_endpoint_id,
    resources,
    issued_access_key_id,
    file,
    record,
    toString(r.verdict) AS verdict,
    splitByChar('\t', judged)[2] AS verdict_rule,
    splitByChar('\t', judged)[3] AS verdict_detail,
    verdict_at,
    postern_request_id,
    postern_received_at
FROM cloudtrail_rows AS r
FINAL
WHERE r.present
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
CREATE VIEW IF NOT EXISTS cloudtrail_by_hour
(
    `hour` DateTime('UTC'),
    `recipient_account_id` LowCardinality(String),
    `identity_account_id` LowCardinality(String),
    `federated_user` LowCardinality(String),
    `verdict` String,
    `events` UInt64
)
AS WITH
    by_part AS
    (
        SELECT
            toStartOfHour(event_time) AS hour,
            _part AS part,
            recipient_account_id,
            identity_account_id,
            federated_user,
            verdict,
            present,
            count() AS events
        FROM cloudtrail_rows
        GROUP BY
            hour,
            part,
            recipient_account_id,
            identity_account_id,
            federated_user,
            verdict,
            present
    ),
    shared AS
    (
        SELECT hour
        FROM
        (
            SELECT
                toStartOfHour(event_time) AS hour,
                _part AS part
            FROM cloudtrail_rows
            GROUP BY
                hour,
                part
        )
        GROUP BY hour
        HAVING (count() > 1) OR max(match(part, '_0(_[0-9]+)?$'))
    )
SELECT
    hour,
    toString(recipient_account_id) AS recipient_account_id,
    toString(identity_account_id) AS identity_account_id,
    toString(federated_user) AS federated_user,
    toString(verdict) AS verdict,
    events
FROM
(
    SELECT
        hour,
        recipient_account_id,
        identity_account_id,
        federated_user,
        verdict,
        present,
        events
    FROM by_part
    WHERE hour NOT IN (
        SELECT hour
        FROM shared
    )
    UNION ALL
    SELECT
        toStartOfHour(event_time) AS hour,
        recipient_account_id,
        identity_account_id,
        federated_user,
        verdict,
        present,
        count() AS events
    FROM cloudtrail_rows
    FINAL
    WHERE toStartOfHour(event_time) IN (
        SELECT hour
        FROM shared
    )
    GROUP BY
        hour,
        recipient_account_id,
        identity_account_id,
        federated_user,
        verdict,
        present
)
WHERE present
SETTINGS do_not_merge_across_partitions_select_final = 1;
CREATE VIEW IF NOT EXISTS credentials
(
    `access_key_id` String,
    `session_id` String,
    `user` LowCardinality(String),
    `app` LowCardinality(String),
    `aws_role_arn` LowCardinality(String),
    `account` LowCardinality(String),
    `role_session_name` LowCardinality(String),
    `source_identity` LowCardinality(String),
    `assumed_role_id` String,
    `issued_at` DateTime64(6, 'UTC'),
    `expires_at` DateTime64(6, 'UTC'),
    `use` LowCardinality(String),
    `handed_out` Bool,
    `rule` LowCardinality(String),
    `proxy` LowCardinality(String)
)
AS SELECT
    access_key_id,
    session_id,
    user,
    app,
    aws_role_arn,
    account,
    role_session_name,
    source_identity,
    assumed_role_id,
    issued_at,
    expires_at,
    use,
    handed_out,
    rule,
    proxy
FROM credential_rows
FINAL;
CREATE VIEW IF NOT EXISTS dead_letters
(
    `letter_id` String,
    `kind` SimpleAggregateFunction(max, LowCardinality(String)),
    `source` SimpleAggregateFunction(max, String),
    `message_id` SimpleAggregateFunction(max, String),
    `body` SimpleAggregateFunction(max, String),
    `reason` SimpleAggregateFunction(max, String),
    `rejected_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `replayed_at` Nullable(SimpleAggregateFunction(max, DateTime64(6, 'UTC'))),
    `replayed_by` SimpleAggregateFunction(max, String)
)
AS SELECT
    letter_id,
    kind,
    source,
    message_id,
    body,
    reason,
    rejected_at,
    if(toUnixTimestamp64Micro(d.replayed_at) = 0, NULL, d.replayed_at) AS replayed_at,
    replayed_by
FROM dead_letter_rows AS d
FINAL;
CREATE VIEW IF NOT EXISTS findings
(
    `finding_id` String,
    `kind` SimpleAggregateFunction(max, LowCardinality(String)),
    `severity` SimpleAggregateFunction(max, LowCardinality(String)),
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `request_id` SimpleAggregateFunction(max, String),
    `recipient_account_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `event_id` SimpleAggregateFunction(max, String),
    `summary` SimpleAggregateFunction(max, String),
    `opened_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `state` String,
    `resolved_at` Nullable(SimpleAggregateFunction(max, DateTime64(6, 'UTC'))),
    `resolve_reason` SimpleAggregateFunction(max, String)
)
AS SELECT
    finding_id,
    kind,
    severity,
    user,
    account,
    request_id,
    recipient_account_id,
    event_id,
    summary,
    opened_at,
    if(toUnixTimestamp(f.resolved_at) = 0, 'open', 'resolved') AS state,
    if(toUnixTimestamp(f.resolved_at) = 0, NULL, f.resolved_at) AS resolved_at,
    resolve_reason
FROM finding_rows AS f
FINAL;
CREATE VIEW IF NOT EXISTS locks
(
    `lock_id` String,
    `target_kind` SimpleAggregateFunction(max, LowCardinality(String)),
    `target_name` SimpleAggregateFunction(max, String),
    `message` SimpleAggregateFunction(max, String),
    `placed_by` SimpleAggregateFunction(max, LowCardinality(String)),
    `placed_at` DateTime64(9, 'UTC'),
    `expires_at` SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    `lifted_at` SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    `lifted_by` SimpleAggregateFunction(max, LowCardinality(String)),
    `state` String
)
AS SELECT
    lock_id,
    target_kind,
    target_name,
    message,
    placed_by,
    assumeNotNull(l.placed_at) AS placed_at,
    expires_at,
    lifted_at,
    lifted_by,
    multiIf(l.lifted_at IS NOT NULL, 'lifted', ifNull(l.expires_at <= now64(6), 0), 'expired', 'active') AS state
FROM lock_rows AS l
FINAL
WHERE l.placed_at IS NOT NULL;
CREATE VIEW IF NOT EXISTS requests
(
    `received_at` DateTime64(6, 'UTC'),
    `request_id` String,
    `outcome` String,
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `session_id` SimpleAggregateFunction(max, String),
    `access_request_ids` SimpleAggregateFunction(max, Array(String)),
    `app` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_role_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_identity` SimpleAggregateFunction(max, LowCardinality(String)),
    `access_key_id` SimpleAggregateFunction(max, String),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `partition` SimpleAggregateFunction(max, LowCardinality(String)),
    `region` SimpleAggregateFunction(max, LowCardinality(String)),
    `service` SimpleAggregateFunction(max, LowCardinality(String)),
    `signing_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `operation` SimpleAggregateFunction(max, LowCardinality(String)),
    `action` SimpleAggregateFunction(max, LowCardinality(String)),
    `also` SimpleAggregateFunction(max, Array(String)),
    `access_level` SimpleAggregateFunction(max, LowCardinality(String)),
    `resources` SimpleAggregateFunction(max, Array(String)),
    `method` SimpleAggregateFunction(max, LowCardinality(String)),
    `host` SimpleAggregateFunction(max, LowCardinality(String)),
    `path` SimpleAggregateFunction(max, String),
    `client_addr` SimpleAggregateFunction(max, String),
    `user_agent` SimpleAggregateFunction(max, LowCardinality(String)),
    `proxy` SimpleAggregateFunction(max, LowCardinality(String)),
    `role` SimpleAggregateFunction(max, LowCardinality(String)),
    `status` SimpleAggregateFunction(max, UInt16),
    `aws_request_id` SimpleAggregateFunction(max, String),
    `error_code` SimpleAggregateFunction(max, LowCardinality(String)),
    `request_bytes` SimpleAggregateFunction(max, Int64),
    `response_bytes` SimpleAggregateFunction(max, Int64),
    `latency_us` SimpleAggregateFunction(max, Int64),
    `duration_us` SimpleAggregateFunction(max, Int64),
    `interrupted` SimpleAggregateFunction(max, LowCardinality(String)),
    `interrupted_detail` SimpleAggregateFunction(max, String),
    `cause` SimpleAggregateFunction(max, LowCardinality(String)),
    `reason` SimpleAggregateFunction(max, String),
    `rule` SimpleAggregateFunction(max, LowCardinality(String)),
    `lock_id` SimpleAggregateFunction(max, LowCardinality(String)),
    `stage` SimpleAggregateFunction(max, LowCardinality(String)),
    `admitted_event_id` SimpleAggregateFunction(max, String),
    `verdict` String,
    `verdict_rule` String,
    `verdict_detail` String,
    `verdict_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `cloudtrail_account` String,
    `cloudtrail_event_id` SimpleAggregateFunction(max, String),
    `cloudtrail_time` SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
AS SELECT
    received_at,
    request_id,
    toString(r.outcome) AS outcome,
    user,
    session_id,
    access_request_ids,
    app,
    aws_role_arn,
    role_session_name,
    source_identity,
    access_key_id,
    account,
    partition,
    region,
    service,
    signing_name,
    operation,
    action,
    also,
    access_level,
    resources,
    method,
    host,
    path,
    client_addr,
    user_agent,
    proxy,
    role,
    status,
    aws_request_id,
    error_code,
    request_bytes,
    response_bytes,
    latency_us,
    duration_us,
    interrupted,
    interrupted_detail,
    cause,
    reason,
    rule,
    lock_id,
    stage,
    admitted_event_id,
    if((r.verdict = '') AND (r.outcome IN ('admitted', 'completed')), 'awaiting', toString(r.verdict)) AS verdict,
    splitByChar('\t', judged)[2] AS verdict_rule,
    splitByChar('\t', judged)[3] AS verdict_detail,
    verdict_at,
    if((splitByChar('\t', judged)[5]) = '', r.cloudtrail_account, splitByChar('\t', judged)[4]) AS cloudtrail_account,
    if((splitByChar('\t', judged)[5]) = '', r.cloudtrail_event_id, splitByChar('\t', judged)[5]) AS cloudtrail_event_id,
    if((splitByChar('\t', judged)[5]) = '', r.cloudtrail_time, fromUnixTimestamp64Micro(toInt64OrZero(splitByChar('\t', judged)[6]), 'UTC')) AS cloudtrail_time
FROM request_rows AS r
FINAL
WHERE r.outcome != ''
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
CREATE VIEW IF NOT EXISTS requests_by_hour
(
    `hour` DateTime('UTC'),
    `account` LowCardinality(String),
    `user` LowCardinality(String),
    `outcome` String,
    `verdict` String,
    `calls` UInt64
)
AS WITH
    by_part AS
    (
        SELECT
            toStartOfHour(received_at) AS hour,
            _part AS part,
            account,
            user,
            outcome,
            verdict,
            count() AS calls
        FROM request_rows
        GROUP BY
            hour,
            part,
            account,
            user,
            outcome,
            verdict
    ),
    shared AS
    (
        SELECT hour
        FROM
        (
            SELECT
                toStartOfHour(received_at) AS hour,
                _part AS part
            FROM request_rows
            GROUP BY
                hour,
                part
        )
        GROUP BY hour
        HAVING (count() > 1) OR max(match(part, '_0(_[0-9]+)?$'))
    )
SELECT
    hour,
    toString(account) AS account,
    toString(user) AS user,
    toString(outcome) AS outcome,
    if((toString(verdict) = '') AND (outcome IN ('admitted', 'completed')), 'awaiting', toString(verdict)) AS verdict,
    calls
FROM
(
    SELECT
        hour,
        account,
        user,
        outcome,
        verdict,
        calls
    FROM by_part
    WHERE hour NOT IN (
        SELECT hour
        FROM shared
    )
    UNION ALL
    SELECT
        toStartOfHour(received_at) AS hour,
        account,
        user,
        outcome,
        verdict,
        count() AS calls
    FROM request_rows
    FINAL
    WHERE toStartOfHour(received_at) IN (
        SELECT hour
        FROM shared
    )
    GROUP BY
        hour,
        account,
        user,
        outcome,
        verdict
)
WHERE outcome != ''
SETTINGS do_not_merge_across_partitions_select_final = 1;
CREATE VIEW IF NOT EXISTS sessions
(
    `session_id` String,
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `app` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_role_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `region` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `source_identity` SimpleAggregateFunction(max, LowCardinality(String)),
    `roles` SimpleAggregateFunction(max, Array(String)),
    `other_roles` SimpleAggregateFunction(max, Array(String)),
    `device` SimpleAggregateFunction(max, String),
    `access_request_ids` SimpleAggregateFunction(max, Array(String)),
    `client_addr` SimpleAggregateFunction(max, String),
    `started_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `expires_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `ended_at` SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    `ended_by` SimpleAggregateFunction(max, LowCardinality(String)),
    `end_reason` SimpleAggregateFunction(max, String),
    `state` String,
    `started_event_id` SimpleAggregateFunction(max, String)
)
AS SELECT
    session_id,
    user,
    app,
    aws_role_arn,
    account,
    region,
    role_session_name,
    source_identity,
    roles,
    other_roles,
    device,
    access_request_ids,
    client_addr,
    started_at,
    expires_at,
    ended_at,
    ended_by,
    end_reason,
    multiIf(s.ended_at IS NOT NULL, 'ended', s.expires_at <= now64(6), 'expired', 'active') AS state,
    started_event_id
FROM session_rows AS s
FINAL
WHERE s.started_event_id != '';
CREATE VIEW IF NOT EXISTS trail_digests
(
    `account` LowCardinality(String),
    `region` LowCardinality(String),
    `trail` LowCardinality(String),
    `home_region` LowCardinality(String),
    `bucket` LowCardinality(String),
    `key` String,
    `backfill` Bool,
    `start_time` DateTime64(6, 'UTC'),
    `end_time` DateTime64(6, 'UTC'),
    `verdict` LowCardinality(String),
    `reason` String,
    `previous_key` String,
    `signature` String,
    `sha256` String,
    `logs` UInt32,
    `logs_invalid` Array(Tuple(
        file String,
        reason String)),
    `checked_at` DateTime64(6, 'UTC')
)
AS SELECT
    account,
    region,
    trail,
    home_region,
    bucket,
    key,
    backfill,
    start_time,
    end_time,
    verdict,
    reason,
    previous_key,
    signature,
    sha256,
    logs,
    logs_invalid,
    checked_at
FROM trail_digest_rows
FINAL;
CREATE VIEW IF NOT EXISTS trail_files
(
    `file` String,
    `account` LowCardinality(String),
    `region` LowCardinality(String),
    `records` UInt32,
    `sha256` String,
    `etag` String,
    `received_at` DateTime64(6, 'UTC')
)
AS SELECT
    file,
    account,
    region,
    records,
    sha256,
    etag,
    received_at
FROM trail_file_rows
FINAL;
CREATE VIEW IF NOT EXISTS trails
(
    `trail_arn` String,
    `account` LowCardinality(String),
    `name` LowCardinality(String),
    `home_region` LowCardinality(String),
    `bucket` LowCardinality(String),
    `prefix` String,
    `multi_region` Bool,
    `organization` Bool,
    `validation` Bool,
    `logging` Bool,
    `event_selectors` String,
    `advanced_event_selectors` String,
    `observed_at` DateTime64(6, 'UTC')
)
AS SELECT
    trail_arn,
    account,
    name,
    home_region,
    bucket,
    prefix,
    multi_region,
    organization,
    validation,
    logging,
    event_selectors,
    advanced_event_selectors,
    observed_at
FROM trail_rows
FINAL;
CREATE VIEW IF NOT EXISTS tunnels
(
    `tunnel_id` String,
    `opened_at` DateTime64(6, 'UTC'),
    `closed_at` Nullable(SimpleAggregateFunction(max, DateTime64(6, 'UTC'))),
    `state` String,
    `user` SimpleAggregateFunction(max, LowCardinality(String)),
    `session_id` SimpleAggregateFunction(max, String),
    `access_request_ids` SimpleAggregateFunction(max, Array(String)),
    `app` SimpleAggregateFunction(max, LowCardinality(String)),
    `aws_role_arn` SimpleAggregateFunction(max, LowCardinality(String)),
    `role_session_name` SimpleAggregateFunction(max, LowCardinality(String)),
    `account` SimpleAggregateFunction(max, LowCardinality(String)),
    `region` SimpleAggregateFunction(max, LowCardinality(String)),
    `service` SimpleAggregateFunction(max, LowCardinality(String)),
    `operation` SimpleAggregateFunction(max, LowCardinality(String)),
    `host` SimpleAggregateFunction(max, LowCardinality(String)),
    `client_addr` SimpleAggregateFunction(max, String),
    `user_agent` SimpleAggregateFunction(max, LowCardinality(String)),
    `proxy` SimpleAggregateFunction(max, LowCardinality(String)),
    `role` SimpleAggregateFunction(max, LowCardinality(String)),
    `rule` SimpleAggregateFunction(max, LowCardinality(String)),
    `start_request_id` SimpleAggregateFunction(max, String),
    `start_operation` SimpleAggregateFunction(max, LowCardinality(String)),
    `sent_bytes` SimpleAggregateFunction(max, Int64),
    `received_bytes` SimpleAggregateFunction(max, Int64),
    `duration_us` SimpleAggregateFunction(max, Int64),
    `interrupted` SimpleAggregateFunction(max, LowCardinality(String)),
    `interrupted_detail` SimpleAggregateFunction(max, String)
)
AS SELECT
    tunnel_id,
    opened_at,
    if(toUnixTimestamp64Micro(t.closed_at) = 0, NULL, t.closed_at) AS closed_at,
    if(toUnixTimestamp64Micro(t.closed_at) = 0, 'open', 'closed') AS state,
    user,
    session_id,
    access_request_ids,
    app,
    aws_role_arn,
    role_session_name,
    account,
    region,
    service,
    operation,
    host,
    client_addr,
    user_agent,
    proxy,
    role,
    rule,
    start_request_id,
    start_operation,
    sent_bytes,
    received_bytes,
    duration_us,
    interrupted,
    interrupted_detail
FROM tunnel_rows AS t
FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
