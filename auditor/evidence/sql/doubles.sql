-- Sequences that the ledger has more than once.
SELECT stream, seq AS first_sequence, seq AS last_sequence, 'doubled' AS kind, concat(toString(count()), ' rows') AS detail
FROM events
WHERE stored_at >= {since:DateTime64(9, 'UTC')}
GROUP BY stream, seq
HAVING count() > 1
ORDER BY stream, first_sequence
LIMIT 1000
