-- hash is what the transparency log has of the event, worked out from the row as
-- it stands: SHA-256 over subject, line feed, time of storage in nanoseconds since
-- 1970, line feed, body. Nothing is stored that could disagree with the row.
ALTER TABLE events {{.OnCluster}}
    ADD COLUMN IF NOT EXISTS hash String
    ALIAS lower(hex(SHA256(concat(channel, '\n', toString(toUnixTimestamp64Nano(stored_at)), '\n', raw))));
