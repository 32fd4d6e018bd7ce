package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
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
	// forwarded and the bypasses, each once, however many accounts have a record of it.
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

// mostOffenders are told of.
const mostOffenders = 20

// counted is a number of calls that have in common what a coverage counts by. Who
// made them is told of those alone that don't add up.
type counted struct {
	User    string `ch:"who"`
	Account string `ch:"of"`
	Outcome string `ch:"result"`
	Verdict string `ch:"judged"`
	// Call begins with 1 where another account's record of the call has the verdict that
	// this one follows. After that comes what both have in common, where what is asked may
	// lack one of the two.
	Call string `ch:"same"`
	N    uint64 `ch:"calls"`
}

// A side's columns as a projection has them, and how they are counted.
var (
	coverageOurs = coverage{hourly{side: ours, columns: "account, user, outcome, verdict", few: "verdict IN ('missing', 'mismatched')", rest: "outcome, verdict"},
		"user", "account", "toString(outcome)", "''"}
	coverageTheirs = coverage{hourly{side: theirs, columns: "recipient_account_id, identity_account_id, federated_user, lent_to, verdict",
		call:       `startsWith(judged, '1\tshared_event\t')`, // only bypasses are judged 1
		callInView: "if(verdict = 'bypass', concat(toString(verdict_rule = 'shared_event'), shared_event_id), '0')",
		few:        "verdict = 'bypass'", rest: "verdict"},
		"if(lent_to != '', lent_to, federated_user)", "if(identity_account_id != '', identity_account_id, recipient_account_id)", "''", "toString(call)"}
)

type coverage struct {
	hourly
	user, account, outcome, same string // the first two are told of the few
}

func (a *Asker) counts(ctx context.Context, c coverage, since time.Time) ([]counted, error) {
	var rows []counted
	count, args := a.count(c.hourly, since)
	err := a.conn.Select(ctx, &rows, "SELECT if("+c.few+", toString("+c.user+"), '') AS who, if("+c.few+", toString("+c.account+"), '') AS of, "+c.outcome+" AS result, toString(verdict) AS judged, "+c.same+" AS same, sum(n) AS calls FROM ("+
		count+") GROUP BY who, of, result, judged, same", args...)
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", c.view, err)
	}
	return rows, nil
}

// Coverage counts since a time, absolute or relative; empty means ever.
func (a *Asker) Coverage(ctx context.Context, sinceText string) (*Coverage, error) {
	now := a.now()
	since, err := Time("since", sinceText, now)
	if err != nil {
		return nil, err
	}
	c := &Coverage{Since: since, Until: now.UTC(), Offenders: []Offender{}}
	var ours, theirs []counted
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) { ours, err = a.counts(ctx, coverageOurs, since); return err })
	both.Go(func() (err error) { theirs, err = a.counts(ctx, coverageTheirs, since); return err })
	if err := both.Wait(); err != nil {
		return nil, err
	}
	offenders := map[[2]string]*Offender{}
	offender := func(r *counted) *Offender {
		o := offenders[[2]string{r.User, r.Account}]
		if o == nil {
			o = &Offender{User: r.User, Account: r.Account}
			offenders[[2]string{r.User, r.Account}] = o
		}
		return o
	}
	for i := range ours {
		r := &ours[i]
		switch {
		case r.Outcome == "denied":
			c.Denied += r.N
		case r.Outcome == "failed":
			c.Failed += r.N
		}
		switch r.Verdict {
		case "matched":
			c.Matched.Count += r.N
		case "", "awaiting":
			if r.Outcome == "admitted" || r.Outcome == "completed" {
				c.Awaiting.Count += r.N
			}
		case "not_logged":
			c.NotLogged.Count += r.N
		case "missing":
			c.Missing.Count += r.N
			offender(r).Missing += r.N
		case "mismatched":
			c.Mismatched.Count += r.N
			offender(r).Mismatched += r.N
		}
	}
	slices.SortFunc(theirs, func(x, y counted) int { return strings.Compare(x.Call, y.Call) })
	told := map[string]bool{}
	for i := range theirs {
		r := &theirs[i]
		c.Records += r.N
		switch r.Verdict {
		case "bypass":
			n := r.N
			switch of := r.Call[1:]; {
			case of == "" && r.Call == "1", told[of]:
				continue
			case of != "":
				n, told[of] = 1, true
			}
			c.Bypass.Count += n
			offender(r).Bypass += n
		case "matched", "mismatched", "proxied":
			c.Proxied += r.N
		case "console":
			c.Console += r.N
		case "forwarded":
			c.Forwarded += r.N
		case "credentials":
			c.Credentials += r.N
		case "exported":
			c.Exported += r.N
		case "token":
			c.Token += r.N
		case "":
			c.Unrelated += r.N
		}
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
	for _, o := range offenders {
		c.Offenders = append(c.Offenders, *o)
	}
	slices.SortFunc(c.Offenders, func(x, y Offender) int {
		return cmp.Or(cmp.Compare(y.Bypass, x.Bypass), cmp.Compare(y.Mismatched, x.Mismatched), cmp.Compare(y.Missing, x.Missing), cmp.Compare(x.User, y.User), cmp.Compare(x.Account, y.Account))
	})
	c.Offenders = c.Offenders[:min(len(c.Offenders), mostOffenders)]
	return c, nil
}
