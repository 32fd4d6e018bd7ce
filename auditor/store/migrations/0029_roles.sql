-- Which roles there are, as a question may name one without its account: a row of each part
-- and role, in place of a row of each call.
ALTER TABLE request_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS roles (SELECT aws_role_arn, count() GROUP BY aws_role_arn);

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS roles (SELECT issuer_arn, count() GROUP BY issuer_arn);

ALTER TABLE request_rows {{.OnCluster}} MATERIALIZE PROJECTION roles;

ALTER TABLE cloudtrail_rows {{.OnCluster}} MATERIALIZE PROJECTION roles;
