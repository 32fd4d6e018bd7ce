-- The views as before, but what is asked of a key's columns is asked before rows are
-- merged: then a question for some keys merges the rows of these alone.
CREATE OR REPLACE VIEW requests {{.OnCluster}} AS
SELECT
    received_at, request_id, toString(r.outcome) AS outcome, user, session_id, access_request_ids, app,
    aws_role_arn, role_session_name, source_identity, access_key_id, account, partition, region,
    service, signing_name, operation, action, access_level, resources, method, host, path,
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

CREATE OR REPLACE VIEW cloudtrail {{.OnCluster}} AS
SELECT
    event_time, recipient_account_id, event_id, event_version, event_type, event_category,
    event_source, event_name, aws_region, request_id, shared_event_id, identity_type, principal_id,
    identity_arn, identity_account_id, access_key_id, user_name, invoked_by, issuer_arn,
    role_session_name, source_identity, federated_user, federated_rule, source_ip_address,
    user_agent, error_code, error_message, read_only, management_event, from_console,
    vpc_endpoint_id, resources, issued_access_key_id, file, record,
    toString(r.verdict) AS verdict,
    splitByChar('\t', judged)[2] AS verdict_rule,
    splitByChar('\t', judged)[3] AS verdict_detail,
    verdict_at, postern_request_id, postern_received_at
FROM cloudtrail_rows AS r FINAL
WHERE r.present
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
