-- Sessions, access requests and locks, one row each, put together from their
-- events; rows may come again or in any order. What no broker decided has none.
CREATE TABLE IF NOT EXISTS session_rows {{.OnCluster}}
(
    session_id         String,
    user               SimpleAggregateFunction(max, LowCardinality(String)),
    app                SimpleAggregateFunction(max, LowCardinality(String)),
    aws_role_arn       SimpleAggregateFunction(max, LowCardinality(String)),
    account            SimpleAggregateFunction(max, LowCardinality(String)),
    region             SimpleAggregateFunction(max, LowCardinality(String)),
    role_session_name  SimpleAggregateFunction(max, LowCardinality(String)),
    source_identity    SimpleAggregateFunction(max, LowCardinality(String)),
    roles              SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    access_request_ids SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    client_addr        SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    started_at         SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    expires_at         SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    ended_at           SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    ended_by           SimpleAggregateFunction(max, LowCardinality(String)),
    end_reason         SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    started_event_id   SimpleAggregateFunction(max, String) CODEC(ZSTD(1))
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY session_id;

CREATE TABLE IF NOT EXISTS access_request_rows {{.OnCluster}}
(
    request_id        String,
    user              SimpleAggregateFunction(max, LowCardinality(String)),
    roles             SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    resources         SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    reason            SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    ttl_seconds       SimpleAggregateFunction(max, Int64),
    created_at        SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    expires_at        SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    reviews           SimpleAggregateFunction(groupUniqArrayArray, Array(Tuple(DateTime64(9, 'UTC'), String, String, String))),
    resolution        SimpleAggregateFunction(max, Tuple(UInt64, String)),
    reviewers         SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    access_expires_at SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY request_id;

CREATE TABLE IF NOT EXISTS lock_rows {{.OnCluster}}
(
    lock_id     String,
    target_kind SimpleAggregateFunction(max, LowCardinality(String)),
    target_name SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    message     SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    placed_by   SimpleAggregateFunction(max, LowCardinality(String)),
    placed_at   SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    expires_at  SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    lifted_at   SimpleAggregateFunction(min, Nullable(DateTime64(9, 'UTC'))),
    lifted_by   SimpleAggregateFunction(max, LowCardinality(String))
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY lock_id;

-- What the ledger has of them already.
INSERT INTO session_rows (session_id, user, app, aws_role_arn, account, region, role_session_name, source_identity,
    roles, access_request_ids, client_addr, started_at, expires_at, started_event_id)
SELECT name, user, JSONExtractString(data, 'app'), JSONExtractString(data, 'aws_role_arn'), JSONExtractString(data, 'account'),
    JSONExtractString(data, 'region'), JSONExtractString(data, 'role_session_name'), JSONExtractString(data, 'source_identity'),
    arrayMap(r -> concat(JSONExtractString(r, 'name'), '@', JSONExtractRaw(r, 'revision')), JSONExtractArrayRaw(data, 'roles')),
    JSONExtract(data, 'request_ids', 'Array(String)'), JSONExtractString(data, 'client_addr'),
    parseDateTime64BestEffortOrZero(JSONExtractString(data, 'started_at'), 6, 'UTC'),
    parseDateTime64BestEffortOrZero(JSONExtractString(data, 'expires_at'), 6, 'UTC'), event_id
FROM access_events WHERE genuine AND type = 'io.postern.session.started.v1';

INSERT INTO session_rows (session_id, ended_at, ended_by, end_reason)
SELECT name, event_time, actor, JSONExtractString(data, 'reason')
FROM access_events WHERE genuine AND type = 'io.postern.session.ended.v1';

INSERT INTO access_request_rows (request_id, user, roles, resources, reason, ttl_seconds, created_at, expires_at)
SELECT name, user, JSONExtract(data, 'roles', 'Array(String)'), JSONExtract(data, 'resources', 'Array(String)'),
    JSONExtractString(data, 'reason'), JSONExtractInt(data, 'ttl_seconds'), event_time,
    parseDateTime64BestEffortOrZero(JSONExtractString(data, 'expires_at'), 6, 'UTC')
FROM access_events WHERE genuine AND type = 'io.postern.request.created.v1';

INSERT INTO access_request_rows (request_id, reviews)
SELECT name, [(event_time, actor, JSONExtractString(data, 'verdict'), JSONExtractString(data, 'reason'))]
FROM access_events WHERE genuine AND type = 'io.postern.request.reviewed.v1';

INSERT INTO access_request_rows (request_id, resolution, reviewers, access_expires_at)
SELECT name, (sequence, splitByChar('.', toString(type))[4]), JSONExtract(data, 'reviewers', 'Array(String)'),
    parseDateTime64BestEffortOrZero(JSONExtractString(data, 'access_expires_at'), 6, 'UTC')
FROM access_events WHERE genuine AND type IN ('io.postern.request.approved.v1', 'io.postern.request.denied.v1',
    'io.postern.request.expired.v1', 'io.postern.request.dropped.v1');

INSERT INTO lock_rows (lock_id, target_kind, target_name, message, placed_by, placed_at, expires_at)
SELECT name, JSONExtractString(data, 'target', 'kind'), JSONExtractString(data, 'target', 'name'), JSONExtractString(data, 'message'),
    actor, event_time, parseDateTime64BestEffortOrNull(JSONExtractString(data, 'expires_at'), 6, 'UTC')
FROM access_events WHERE genuine AND type = 'io.postern.lock.placed.v1';

INSERT INTO lock_rows (lock_id, lifted_at, lifted_by)
SELECT name, event_time, actor
FROM access_events WHERE genuine AND type = 'io.postern.lock.lifted.v1';

CREATE OR REPLACE VIEW sessions {{.OnCluster}} AS
SELECT session_id, user, app, aws_role_arn, account, region, role_session_name, source_identity, roles,
    access_request_ids, client_addr, started_at, expires_at, ended_at, ended_by, end_reason,
    multiIf(s.ended_at IS NOT NULL, 'ended', s.expires_at <= now64(6), 'expired', 'active') AS state, started_event_id
FROM session_rows AS s FINAL
WHERE s.started_event_id != '';

CREATE OR REPLACE VIEW access_requests {{.OnCluster}} AS
SELECT request_id, user, roles, resources, reason, ttl_seconds, assumeNotNull(r.created_at) AS created_at, expires_at, reviews,
    if(r.resolution.2 = '', 'pending', r.resolution.2) AS state, reviewers, access_expires_at
FROM access_request_rows AS r FINAL
WHERE r.created_at IS NOT NULL;

CREATE OR REPLACE VIEW locks {{.OnCluster}} AS
SELECT lock_id, target_kind, target_name, message, placed_by, assumeNotNull(l.placed_at) AS placed_at, expires_at, lifted_at, lifted_by,
    multiIf(l.lifted_at IS NOT NULL, 'lifted', ifNull(l.expires_at <= now64(6), 0), 'expired', 'active') AS state
FROM lock_rows AS l FINAL
WHERE l.placed_at IS NOT NULL;
