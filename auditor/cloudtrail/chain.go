package cloudtrail

import (
	"fmt"
	"time"

	"github.com/posternhq/postern/events"
)

// link is a digest file in its chain: what was found of it, and where it points.
type link struct {
	key        string
	verdict    string // events.DigestValid, DigestInvalid
	reason     string
	start, end time.Time // zero for one that could not be read
	signature  string

	previous          string
	previousSignature string
	// from is the bucket that the previous one is in, where it is another: the trail was
	// given this one since.
	from string
}

// fault is what is wrong with a chain.
type fault struct {
	// kind is trail_tampered, or trail_gap where CloudTrail itself began anew.
	kind string
	// key is the digest file that it is about, missing one that does not exist.
	key      string
	missing  bool
	from, to time.Time
	reason   string
}

const (
	kindTampered = "trail_tampered"
	kindGap      = "trail_gap"
)

// overlap is how far the times of consecutive digest files may be apart: they
// meet to the second.
const overlap = time.Minute

// judgeChain finds what is wrong with consecutive digest files of one chain, by
// time, of which before, if any, is known from earlier. The first one's
// predecessor is asked for only if since, a time that digest files must reach
// back to, is not zero.
func judgeChain(before *link, since time.Time, links []link) []fault {
	var out []fault
	for i := range links {
		l := &links[i]
		if l.verdict != events.DigestValid {
			out = append(out, fault{kind: kindTampered, key: l.key, from: l.start, to: l.end, reason: l.reason})
			// What it says of its predecessor is not to be believed.
			before = &link{key: l.key, signature: l.signature}
			continue
		}
		switch {
		case l.previous == "":
			if before != nil && !before.end.IsZero() && l.start.Sub(before.end) > overlap {
				out = append(out, fault{kind: kindGap, key: l.key, from: before.end, to: l.start,
					reason: fmt.Sprintf("CloudTrail began a new chain: no digest file covers %s to %s", clock(before.end), clock(l.start))})
			}
		case l.from != "":
			// The chain of the other bucket's files ends with the previous one, this one's begins.
		case before == nil && (since.IsZero() || l.start.Before(since)):
			// Here begins what is asked about.
		case before == nil || l.previous != before.key:
			out = append(out, fault{kind: kindTampered, key: l.previous, missing: true, to: l.start, reason: "not found: the digest file that follows names it"})
			_, end, ok := chainOf("", l.previous)
			if before != nil && !before.end.IsZero() && ok && end.Sub(before.end) > period+overlap {
				out = append(out, fault{kind: kindTampered, key: l.key, from: before.end, to: end.Add(-period),
					reason: fmt.Sprintf("no digest file covers %s to %s: more than one is gone", clock(before.end), clock(end.Add(-period)))})
			}
		case before.signature != "" && before.signature != l.previousSignature:
			out = append(out, fault{kind: kindTampered, key: before.key, from: before.start, to: before.end, reason: "is not the file that the digest file after it follows"})
		}
		before = l
	}
	return out
}

// period is what one digest file covers.
const period = time.Hour

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
