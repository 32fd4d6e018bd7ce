-- The ledger: one row for each message of each stream, whole, known or not.
-- Everything else in this database can be made again from it. An insert never
-- spans two partitions, so it is atomic.
CREATE TABLE IF NOT EXISTS events {{.OnCluster}}
(
    stream         LowCardinality(String),
    seq            UInt64                  CODEC(Delta, ZSTD(1)),
    stored_at      DateTime64(9, 'UTC')    CODEC(Delta, ZSTD(1)),
    event_id       String                  CODEC(ZSTD(1)),
    type           LowCardinality(String),
    source         LowCardinality(String),
    channel        String                  CODEC(ZSTD(1)),
    thing          String                  CODEC(ZSTD(1)),
    event_time     DateTime64(9, 'UTC')    CODEC(Delta, ZSTD(1)),
    correlation_id String                  CODEC(ZSTD(1)),
    causation_id   String                  CODEC(ZSTD(1)),
    sequence       UInt64                  CODEC(Delta, ZSTD(1)),
    problem        String                  CODEC(ZSTD(1)),
    raw            String                  CODEC(ZSTD(1)),
    data           String ALIAS JSONExtractRaw(raw, 'data'),
    INDEX event_id_index event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX thing_index thing TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX correlation_id_index correlation_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = {{.Engine "MergeTree"}}
PARTITION BY (stream, toYYYYMM(stored_at))
ORDER BY (stream, seq)
SETTINGS {{.DeduplicationWindow}} = 10000;

-- Up to where each stream is known to be in the ledger without a gap, so that a
-- start need not count from the beginning.
CREATE TABLE IF NOT EXISTS ledger_floors {{.OnCluster}}
(
    stream LowCardinality(String),
    floor  UInt64,
    at     DateTime64(3, 'UTC')
)
ENGINE = {{.Engine "ReplacingMergeTree" "floor"}}
ORDER BY stream;
