-- Rows of the ledger that can be of no message: streams count from 1, and there are four.
SELECT stream, min(seq) AS first_sequence, max(seq) AS last_sequence, 'unexpected' AS kind,
    if(seq = 0, 'no stream has a sequence 0', 'there is no such stream') AS detail
FROM events
WHERE seq = 0 OR stream NOT IN ('ACCESS', 'AUDIT', 'CLOUDTRAIL', 'FINDINGS')
GROUP BY stream, detail
ORDER BY stream, first_sequence
LIMIT 1000
