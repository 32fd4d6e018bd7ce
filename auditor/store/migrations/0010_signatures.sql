-- Whether a broker decided what stands on ACCESS: 'valid', 'unsigned' or 'invalid'
-- with the reason; '' is for the other streams, and for what was stored by an
-- auditor that did not verify. What is not genuine is kept, and counts for nothing
-- in the views of sessions, access requests and locks.
ALTER TABLE events {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS signature LowCardinality(String),
    ADD COLUMN IF NOT EXISTS signature_reason String CODEC(ZSTD(1));

CREATE OR REPLACE VIEW access_events {{.OnCluster}} AS
SELECT seq, stored_at, event_id, type, splitByChar('/', thing)[1] AS kind,
    substring(thing, position(thing, '/') + 1) AS name, thing, event_time, source, channel,
    correlation_id, causation_id, sequence, signature, signature_reason, CAST(signature, 'String') IN ('', 'valid') AS genuine,
    multiIf(JSONHas(raw, 'data', 'user'), JSONExtractString(raw, 'data', 'user'),
        kind = 'user', name, '') AS user,
    multiIf(JSONHas(raw, 'data', 'by'), JSONExtractString(raw, 'data', 'by'),
        JSONHas(raw, 'data', 'reviewer'), JSONExtractString(raw, 'data', 'reviewer'),
        JSONExtractString(raw, 'data', 'user')) AS actor,
    JSONExtractRaw(raw, 'data') AS data
FROM events
WHERE stream = 'ACCESS';

CREATE OR REPLACE VIEW sessions {{.OnCluster}} AS
SELECT name AS session_id,
    anyIf(user, started) AS user,
    anyIf(JSONExtractString(data, 'app'), started) AS app,
    anyIf(JSONExtractString(data, 'aws_role_arn'), started) AS aws_role_arn,
    anyIf(JSONExtractString(data, 'account'), started) AS account,
    anyIf(JSONExtractString(data, 'region'), started) AS region,
    anyIf(JSONExtractString(data, 'role_session_name'), started) AS role_session_name,
    anyIf(JSONExtractString(data, 'source_identity'), started) AS source_identity,
    anyIf(arrayMap(r -> concat(JSONExtractString(r, 'name'), '@', JSONExtractRaw(r, 'revision')),
        JSONExtractArrayRaw(data, 'roles')), started) AS roles,
    anyIf(JSONExtract(data, 'request_ids', 'Array(String)'), started) AS access_request_ids,
    anyIf(JSONExtractString(data, 'client_addr'), started) AS client_addr,
    anyIf(parseDateTime64BestEffortOrZero(JSONExtractString(data, 'started_at'), 6, 'UTC'), started) AS started_at,
    anyIf(parseDateTime64BestEffortOrZero(JSONExtractString(data, 'expires_at'), 6, 'UTC'), started) AS expires_at,
    minIf(event_time, ended) AS first_end,
    if(countIf(ended) = 0, NULL, first_end) AS ended_at,
    anyIf(actor, ended) AS ended_by,
    anyIf(JSONExtractString(data, 'reason'), ended) AS end_reason,
    multiIf(countIf(ended) > 0, 'ended', expires_at <= now64(6), 'expired', 'active') AS state,
    anyIf(event_id, started) AS started_event_id
FROM (SELECT *, type LIKE 'io.postern.session.started.%' AS started, type LIKE 'io.postern.session.ended.%' AS ended
    FROM access_events WHERE kind = 'session' AND genuine)
GROUP BY session_id
HAVING countIf(started) > 0;

CREATE OR REPLACE VIEW access_requests {{.OnCluster}} AS
SELECT name AS request_id,
    anyIf(user, created) AS user,
    anyIf(JSONExtract(data, 'roles', 'Array(String)'), created) AS roles,
    anyIf(JSONExtract(data, 'resources', 'Array(String)'), created) AS resources,
    anyIf(JSONExtractString(data, 'reason'), created) AS reason,
    anyIf(JSONExtractInt(data, 'ttl_seconds'), created) AS ttl_seconds,
    minIf(event_time, created) AS created_at,
    anyIf(parseDateTime64BestEffortOrZero(JSONExtractString(data, 'expires_at'), 6, 'UTC'), created) AS expires_at,
    groupUniqArrayIf(tuple(event_time, actor, JSONExtractString(data, 'verdict'), JSONExtractString(data, 'reason')),
        type LIKE 'io.postern.request.reviewed.%') AS reviews,
    argMaxIf(splitByChar('.', toString(type))[4], sequence, splitByChar('.', toString(type))[4] IN ('approved', 'denied', 'expired', 'dropped')) AS last_state,
    if(last_state = '', 'pending', last_state) AS state,
    anyIf(JSONExtract(data, 'reviewers', 'Array(String)'), type LIKE 'io.postern.request.approved.%' OR type LIKE 'io.postern.request.denied.%') AS reviewers,
    anyIf(parseDateTime64BestEffortOrZero(JSONExtractString(data, 'access_expires_at'), 6, 'UTC'), type LIKE 'io.postern.request.approved.%') AS access_expires_at
FROM (SELECT *, type LIKE 'io.postern.request.created.%' AS created FROM access_events WHERE kind = 'request' AND genuine)
GROUP BY request_id
HAVING countIf(created) > 0;

CREATE OR REPLACE VIEW locks {{.OnCluster}} AS
SELECT name AS lock_id,
    anyIf(JSONExtractString(data, 'target', 'kind'), placed) AS target_kind,
    anyIf(JSONExtractString(data, 'target', 'name'), placed) AS target_name,
    anyIf(JSONExtractString(data, 'message'), placed) AS message,
    anyIf(actor, placed) AS placed_by,
    minIf(event_time, placed) AS placed_at,
    anyIf(parseDateTime64BestEffortOrNull(JSONExtractString(data, 'expires_at'), 6, 'UTC'), placed) AS expires_at,
    minIf(event_time, NOT placed) AS first_lift,
    if(countIf(NOT placed) = 0, NULL, first_lift) AS lifted_at,
    anyIf(actor, NOT placed) AS lifted_by,
    multiIf(countIf(NOT placed) > 0, 'lifted', ifNull(expires_at <= now64(6), 0), 'expired', 'active') AS state
FROM (SELECT *, type LIKE 'io.postern.lock.placed.%' AS placed FROM access_events WHERE kind = 'lock' AND genuine)
GROUP BY lock_id
HAVING countIf(placed) > 0;
