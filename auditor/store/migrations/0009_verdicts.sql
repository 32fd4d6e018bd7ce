-- More verdicts, and what explains them: keys that users hold, and what was
-- signed for use without postern.
ALTER TABLE request_rows {{.OnCluster}}
    MODIFY COLUMN verdict SimpleAggregateFunction(max, Enum8('' = 0, 'missing' = 1, 'not_logged' = 2, 'mismatched' = 8, 'matched' = 9));

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    MODIFY COLUMN verdict SimpleAggregateFunction(max, Enum8('' = 0, 'bypass' = 1, 'proxied' = 2, 'console' = 3, 'forwarded' = 4, 'credentials' = 5, 'exported' = 6, 'token' = 7, 'mismatched' = 8, 'matched' = 9));

ALTER TABLE credential_rows {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS handed_out Bool DEFAULT use = 'export';

CREATE OR REPLACE VIEW credentials {{.OnCluster}} AS
SELECT access_key_id, session_id, user, app, aws_role_arn, account, role_session_name,
    source_identity, assumed_role_id, issued_at, expires_at, use, handed_out, proxy
FROM credential_rows FINAL;

CREATE TABLE IF NOT EXISTS aws_token_rows {{.OnCluster}}
(
    access_key_id     String,
    issued_at         DateTime64(6, 'UTC'),
    request_id        String,
    kind              LowCardinality(String),
    user              LowCardinality(String),
    session_id        String,
    app               LowCardinality(String),
    aws_role_arn      LowCardinality(String),
    account           LowCardinality(String),
    role_session_name LowCardinality(String),
    region            LowCardinality(String),
    service           LowCardinality(String),
    signing_name      LowCardinality(String),
    operation         LowCardinality(String),
    resources         Array(String) CODEC(ZSTD(1)),
    expires_at        DateTime64(6, 'UTC'),
    proxy             LowCardinality(String)
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (access_key_id, issued_at, request_id);

CREATE OR REPLACE VIEW aws_tokens {{.OnCluster}} AS
SELECT access_key_id, issued_at, request_id, kind, user, session_id, app, aws_role_arn, account,
    role_session_name, region, service, signing_name, operation, resources, expires_at, proxy
FROM aws_token_rows FINAL;
