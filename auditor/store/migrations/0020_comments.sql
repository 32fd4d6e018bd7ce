-- What the tables are, for who looks at them. Auditors of versions before this one
-- stored all streams in one process under one lease: by this migration they end, and
-- those that divide the streams begin.
ALTER TABLE events {{.OnCluster}} MODIFY COMMENT 'the ledger: one row for each message of each stream, whole';

ALTER TABLE ledger_floors {{.OnCluster}} MODIFY COMMENT 'up to where each stream is stored without a gap; marks of who reads the ledger';

ALTER TABLE request_rows {{.OnCluster}} MODIFY COMMENT 'calls through postern: read them by the view requests';

ALTER TABLE cloudtrail_rows {{.OnCluster}} MODIFY COMMENT 'records of CloudTrail: read them by the view cloudtrail';
