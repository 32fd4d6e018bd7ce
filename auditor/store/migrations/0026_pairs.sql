-- A request that was paired with a record that disagrees may be paired once more, when its
-- own comes late: the best verdict says with which.
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
    verdict_at,
    if(splitByChar('\t', judged)[5] = '', r.cloudtrail_account, splitByChar('\t', judged)[4]) AS cloudtrail_account,
    if(splitByChar('\t', judged)[5] = '', r.cloudtrail_event_id, splitByChar('\t', judged)[5]) AS cloudtrail_event_id,
    if(splitByChar('\t', judged)[5] = '', r.cloudtrail_time, fromUnixTimestamp64Micro(toInt64OrZero(splitByChar('\t', judged)[6]), 'UTC')) AS cloudtrail_time
FROM request_rows AS r FINAL
WHERE r.outcome != ''
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
