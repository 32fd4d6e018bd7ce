-- What roles in dry run would have refused: tunnels, consoles, credentials and
-- signatures for use without postern.
ALTER TABLE tunnel_rows {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS rule SimpleAggregateFunction(max, LowCardinality(String));

ALTER TABLE credential_rows {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS rule LowCardinality(String);

ALTER TABLE aws_token_rows {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS rule LowCardinality(String);

CREATE OR REPLACE VIEW tunnels {{.OnCluster}} AS
SELECT tunnel_id, opened_at,
    if(toUnixTimestamp64Micro(t.closed_at) = 0, NULL, t.closed_at) AS closed_at,
    if(toUnixTimestamp64Micro(t.closed_at) = 0, 'open', 'closed') AS state,
    user, session_id, access_request_ids, app, aws_role_arn, role_session_name, account, region,
    service, operation, host, client_addr, user_agent, proxy, role, rule, start_request_id,
    start_operation, sent_bytes, received_bytes, duration_us, interrupted, interrupted_detail
FROM tunnel_rows AS t FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW credentials {{.OnCluster}} AS
SELECT access_key_id, session_id, user, app, aws_role_arn, account, role_session_name,
    source_identity, assumed_role_id, issued_at, expires_at, use, handed_out, rule, proxy
FROM credential_rows FINAL;

CREATE OR REPLACE VIEW aws_tokens {{.OnCluster}} AS
SELECT access_key_id, issued_at, request_id, kind, user, session_id, app, aws_role_arn, account,
    role_session_name, region, service, signing_name, operation, resources, expires_at, rule, proxy
FROM aws_token_rows FINAL;
