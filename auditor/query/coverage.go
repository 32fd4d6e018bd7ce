package query

import (
	"context"
	"fmt"
	"time"
)

// Count is a number of calls and its share of all that count.
type Count struct {
	Count uint64 `json:"count"`
	// Share of Coverage.Calls, from 0 to 1.
	Share float64 `json:"share"`
}

// Coverage says how far postern's account and CloudTrail's agree.
type Coverage struct {
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until"`
	// Calls that AWS got under identities of postern's: the requests that were
	// forwarded and the bypasses.
	Calls      uint64 `json:"calls"`
	Matched    Count  `json:"matched"`
	Awaiting   Count  `json:"awaiting"`
	Missing    Count  `json:"missing"`
	Mismatched Count  `json:"mismatched"`
	Bypass     Count  `json:"bypass"`
	// NotLogged requests are those that no trail selects, so no record is due.
	NotLogged Count `json:"not_logged"`
	// Denied and Failed requests never reached AWS, as far as is known.
	Denied uint64 `json:"denied"`
	Failed uint64 `json:"failed"`
	// Records of CloudTrail by what they are; Unrelated are those of identities
	// that postern has nothing to do with.
	Records     uint64 `json:"cloudtrail_records"`
	Proxied     uint64 `json:"cloudtrail_proxied"`
	Console     uint64 `json:"cloudtrail_console"`
	Forwarded   uint64 `json:"cloudtrail_forwarded"`
	Credentials uint64 `json:"cloudtrail_credentials"`
	Exported    uint64 `json:"cloudtrail_exported"`
	Token       uint64 `json:"cloudtrail_token"`
	Unrelated   uint64 `json:"cloudtrail_unrelated"`
	// Offenders have most of what should not be, worst first.
	Offenders []Offender `json:"worst_offenders"`
}

// Offender is a user with calls that don't add up.
type Offender struct {
	User       string `ch:"user" json:"user"`
	Account    string `ch:"account" json:"account"`
	Bypass     uint64 `ch:"bypass" json:"bypass"`
	Mismatched uint64 `ch:"mismatched" json:"mismatched"`
	Missing    uint64 `ch:"missing" json:"missing"`
}

// Coverage counts since a time, absolute or relative; empty means ever.
func (a *Asker) Coverage(ctx context.Context, sinceText string) (*Coverage, error) {
	now := a.now()
	since, err := Time("since", sinceText, now)
	if err != nil {
		return nil, err
	}
	c := &Coverage{Since: since, Until: now.UTC(), Offenders: []Offender{}}
	requests, records := hourly{ours, "outcome, verdict", "1"}, hourly{theirs, "verdict", "1"}
	err = a.conn.QueryRow(ctx, `SELECT sumIf(n, verdict = 'matched'), sumIf(n, verdict IN ('', 'awaiting') AND outcome IN ('admitted', 'completed')), sumIf(n, verdict = 'missing'),
		sumIf(n, verdict = 'mismatched'), sumIf(n, verdict = 'not_logged'), sumIf(n, outcome = 'denied'), sumIf(n, outcome = 'failed') FROM (`+a.count(requests, since)+`)`).
		Scan(&c.Matched.Count, &c.Awaiting.Count, &c.Missing.Count, &c.Mismatched.Count, &c.NotLogged.Count, &c.Denied, &c.Failed)
	if err != nil {
		return nil, fmt.Errorf("count requests: %w", err)
	}
	err = a.conn.QueryRow(ctx, `SELECT sum(n), sumIf(n, verdict = 'bypass'), sumIf(n, verdict = 'matched' OR verdict = 'mismatched' OR verdict = 'proxied'),
		sumIf(n, verdict = 'console'), sumIf(n, verdict = 'forwarded'), sumIf(n, verdict = 'credentials'), sumIf(n, verdict = 'exported'), sumIf(n, verdict = 'token'), sumIf(n, verdict = '')
		FROM (`+a.count(records, since)+`)`).
		Scan(&c.Records, &c.Bypass.Count, &c.Proxied, &c.Console, &c.Forwarded, &c.Credentials, &c.Exported, &c.Token, &c.Unrelated)
	if err != nil {
		return nil, fmt.Errorf("count cloudtrail records: %w", err)
	}
	parts := []*Count{&c.Matched, &c.Awaiting, &c.Missing, &c.Mismatched, &c.Bypass, &c.NotLogged}
	for _, p := range parts {
		c.Calls += p.Count
	}
	for _, p := range parts {
		if c.Calls > 0 {
			p.Share = float64(p.Count) / float64(c.Calls)
		}
	}
	requests = hourly{ours, "account, user, outcome, verdict", "verdict IN ('mismatched', 'missing')"}
	records = hourly{theirs, "recipient_account_id, identity_account_id, federated_user, verdict", "verdict = 'bypass'"}
	err = a.conn.Select(ctx, &c.Offenders, `SELECT who AS user, account, sum(b) AS bypass, sum(mm) AS mismatched, sum(m) AS missing FROM (
			SELECT toString(user) AS who, toString(account) AS account, toUInt64(0) AS b, sumIf(n, verdict = 'mismatched') AS mm, sumIf(n, verdict = 'missing') AS m
			FROM (`+a.count(requests, since)+`) GROUP BY who, account
			UNION ALL
			SELECT toString(federated_user) AS who, toString(if(identity_account_id != '', identity_account_id, recipient_account_id)) AS account, sum(n) AS b, toUInt64(0) AS mm, toUInt64(0) AS m
			FROM (`+a.count(records, since)+`) GROUP BY who, account
		) GROUP BY who, account ORDER BY bypass DESC, mismatched DESC, missing DESC, user LIMIT 20`)
	if err != nil {
		return nil, fmt.Errorf("count by user: %w", err)
	}
	return c, nil
}
