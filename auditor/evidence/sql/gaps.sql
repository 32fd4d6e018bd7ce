-- Sequences of a stream that the ledger lacks, since what may be gone on purpose.
SELECT stream, seq + 1 AS first_sequence, toUInt64(following - 1) AS last_sequence, 'missing' AS kind, '' AS detail
FROM
(
    SELECT stream, seq,
        leadInFrame(seq, 1, seq + 1) OVER (PARTITION BY stream ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS following
    FROM events
    WHERE stored_at >= {since:DateTime64(9, 'UTC')}
        AND (stored_at >= {expired:DateTime64(9, 'UTC')} OR stream NOT IN ('AUDIT', 'CLOUDTRAIL'))
)
WHERE following > seq + 1
ORDER BY stream, first_sequence
LIMIT 1000
