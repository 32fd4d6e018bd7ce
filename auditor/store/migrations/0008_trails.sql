-- What is known of CloudTrail's own files: log files taken in, digest files
-- checked, trails. One row a file or trail, the last one written.
CREATE TABLE IF NOT EXISTS trail_file_rows {{.OnCluster}}
(
    file        String                 CODEC(ZSTD(1)),
    account     LowCardinality(String),
    region      LowCardinality(String),
    records     UInt32,
    sha256      String                 CODEC(ZSTD(1)),
    etag        String                 CODEC(ZSTD(1)),
    received_at DateTime64(6, 'UTC')   CODEC(Delta, ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree" "received_at"}}
ORDER BY file;

CREATE OR REPLACE VIEW trail_files {{.OnCluster}} AS
SELECT file, account, region, records, sha256, etag, received_at FROM trail_file_rows FINAL;

CREATE TABLE IF NOT EXISTS trail_digest_rows {{.OnCluster}}
(
    account      LowCardinality(String),
    region       LowCardinality(String),
    trail        LowCardinality(String),
    home_region  LowCardinality(String),
    bucket       LowCardinality(String),
    key          String                 CODEC(ZSTD(1)),
    backfill     Bool,
    start_time   DateTime64(6, 'UTC'),
    end_time     DateTime64(6, 'UTC'),
    verdict      LowCardinality(String),
    reason       String                 CODEC(ZSTD(1)),
    previous_key String                 CODEC(ZSTD(1)),
    signature    String                 CODEC(ZSTD(1)),
    sha256       String                 CODEC(ZSTD(1)),
    logs         UInt32,
    logs_invalid Array(Tuple(file String, reason String)) CODEC(ZSTD(1)),
    checked_at   DateTime64(6, 'UTC')
)
ENGINE = {{.Engine "ReplacingMergeTree" "checked_at"}}
ORDER BY (bucket, account, region, trail, backfill, key);

CREATE OR REPLACE VIEW trail_digests {{.OnCluster}} AS
SELECT account, region, trail, home_region, bucket, key, backfill, start_time, end_time, verdict,
    reason, previous_key, signature, sha256, logs, logs_invalid, checked_at
FROM trail_digest_rows FINAL;

CREATE TABLE IF NOT EXISTS trail_rows {{.OnCluster}}
(
    trail_arn                String,
    account                  LowCardinality(String),
    name                     LowCardinality(String),
    home_region              LowCardinality(String),
    bucket                   LowCardinality(String),
    prefix                   String,
    multi_region             Bool,
    organization             Bool,
    validation               Bool,
    logging                  Bool,
    event_selectors          String,
    advanced_event_selectors String,
    observed_at              DateTime64(6, 'UTC')
)
ENGINE = {{.Engine "ReplacingMergeTree" "observed_at"}}
ORDER BY trail_arn;

CREATE OR REPLACE VIEW trails {{.OnCluster}} AS
SELECT trail_arn, account, name, home_region, bucket, prefix, multi_region, organization, validation,
    logging, event_selectors, advanced_event_selectors, observed_at
FROM trail_rows FINAL;

-- What was set aside and not taken in since: files and messages, by the id of
-- the event that says so.
CREATE TABLE IF NOT EXISTS dead_letter_rows {{.OnCluster}}
(
    letter_id   String,
    kind        SimpleAggregateFunction(max, LowCardinality(String)),
    source      SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    message_id  SimpleAggregateFunction(max, String),
    body        SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    reason      SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    rejected_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    replayed_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    replayed_by SimpleAggregateFunction(max, String)
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY letter_id;

CREATE OR REPLACE VIEW dead_letters {{.OnCluster}} AS
SELECT letter_id, kind, source, message_id, body, reason, rejected_at,
    if(toUnixTimestamp64Micro(d.replayed_at) = 0, NULL, d.replayed_at) AS replayed_at, replayed_by
FROM dead_letter_rows AS d FINAL;
