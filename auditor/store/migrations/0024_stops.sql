-- What stops a session besides what it rests on: locks on other roles that its user
-- holds, and on the machine that it was started from.
ALTER TABLE session_rows {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS other_roles SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS device SimpleAggregateFunction(max, String) CODEC(ZSTD(1));

INSERT INTO session_rows (session_id, other_roles, device)
SELECT name, JSONExtract(data, 'other_roles', 'Array(String)') AS others, JSONExtractString(data, 'device') AS machine
FROM access_events WHERE genuine AND type = 'io.postern.session.started.v1' AND (notEmpty(others) OR machine != '');

CREATE OR REPLACE VIEW sessions {{.OnCluster}} AS
SELECT session_id, user, app, aws_role_arn, account, region, role_session_name, source_identity, roles, other_roles, device,
    access_request_ids, client_addr, started_at, expires_at, ended_at, ended_by, end_reason,
    multiIf(s.ended_at IS NOT NULL, 'ended', s.expires_at <= now64(6), 'expired', 'active') AS state, started_event_id
FROM session_rows AS s FINAL
WHERE s.started_event_id != '';
