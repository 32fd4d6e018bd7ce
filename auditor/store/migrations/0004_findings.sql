CREATE TABLE IF NOT EXISTS finding_rows {{.OnCluster}}
(
    finding_id           String,
    kind                 SimpleAggregateFunction(max, LowCardinality(String)),
    severity             SimpleAggregateFunction(max, LowCardinality(String)),
    user                 SimpleAggregateFunction(max, LowCardinality(String)),
    account              SimpleAggregateFunction(max, LowCardinality(String)),
    request_id           SimpleAggregateFunction(max, String),
    recipient_account_id SimpleAggregateFunction(max, LowCardinality(String)),
    event_id             SimpleAggregateFunction(max, String),
    summary              SimpleAggregateFunction(max, String),
    opened_at            SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    resolved_at          SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    resolve_reason       SimpleAggregateFunction(max, String)
)
ENGINE = {{.Engine "AggregatingMergeTree"}}
ORDER BY finding_id;

CREATE OR REPLACE VIEW findings {{.OnCluster}} AS
SELECT finding_id, kind, severity, user, account, request_id, recipient_account_id, event_id,
    summary, opened_at, if(toUnixTimestamp(f.resolved_at) = 0, 'open', 'resolved') AS state,
    if(toUnixTimestamp(f.resolved_at) = 0, NULL, f.resolved_at) AS resolved_at, resolve_reason
FROM finding_rows AS f FINAL;
