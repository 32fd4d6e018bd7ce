-- Rows of the ledger whose columns say something else than the event in them.
-- ClickHouse reads less JSON than there is (numbers beyond 64 bits, halves of UTF-16
-- pairs, a thousand levels): rows that it can't read, postern reads by itself.
SELECT stream, seq AS first_sequence, seq AS last_sequence, 'derived' AS kind,
    arrayStringConcat(arrayFilter(x -> x != '', [
        if(event_id != JSONExtractString(raw, 'id'), 'event_id', ''),
        if(type != JSONExtractString(raw, 'type'), 'type', ''),
        if(source != JSONExtractString(raw, 'source'), 'source', ''),
        if(thing != JSONExtractString(raw, 'subject'), 'thing', ''),
        if(correlation_id != JSONExtractString(raw, 'correlationid'), 'correlation_id', ''),
        if(causation_id != JSONExtractString(raw, 'causationid'), 'causation_id', ''),
        if(data != JSONExtractRaw(raw, 'data'), 'data', ''),
        if(sequence != toUInt64OrZero(JSONExtractString(raw, 'sequence')), 'sequence', ''),
        if(event_time != parseDateTime64BestEffortOrZero(JSONExtractString(raw, 'time'), 9, 'UTC') AND event_time != stored_at, 'event_time', '')
    ]), ', ') AS detail
FROM events
WHERE stored_at >= {since:DateTime64(9, 'UTC')} AND problem = '' AND detail != '' AND isValidJSON(raw)
ORDER BY stream, first_sequence
LIMIT 1000
