-- The IAM actions that a call took besides its own: s3:PutObjectAcl of an upload with an ACL.
ALTER TABLE request_rows {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS also SimpleAggregateFunction(max, Array(String)) CODEC(ZSTD(1));

-- As the index on the action: a search asks for either.
ALTER TABLE request_rows {{.OnCluster}}
    ADD INDEX IF NOT EXISTS also_index also TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE request_rows {{.OnCluster}} MATERIALIZE INDEX also_index;

CREATE OR REPLACE VIEW requests {{.OnCluster}} AS
SELECT
    received_at, request_id, toString(r.outcome) AS outcome, user, session_id, access_request_ids, app,
    aws_role_arn, role_session_name, source_identity, access_key_id, account, partition, region,
    service, signing_name, operation, action, also, access_level, resources, method, host, path,
    client_addr, user_agent, proxy, role, status, aws_request_id, error_code, request_bytes,
    response_bytes, latency_us, duration_us, interrupted, interrupted_detail, cause, reason, rule,
    lock_id, stage, admitted_event_id,
    if(r.verdict = '' AND r.outcome IN ('admitted', 'completed'), 'awaiting', toString(r.verdict)) AS verdict,
    splitByChar('\t', judged)[2] AS verdict_rule,
    splitByChar('\t', judged)[3] AS verdict_detail,
    verdict_at, cloudtrail_account, cloudtrail_event_id, cloudtrail_time
FROM request_rows AS r FINAL
WHERE r.outcome != ''
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
