package cloudtrail

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/posternhq/postern/events"
)

// History is what is stored of CloudTrail's files.
type History interface {
	// Files returns those of the named files that were taken in.
	Files(ctx context.Context, names []string) (map[string]FileState, error)
	// LastDigest returns the last digest file of a chain that ends before a time;
	// nil where there is none.
	LastDigest(ctx context.Context, c Chain, before time.Time) (*events.CloudTrailDigestChecked, error)
	// Chains returns the chains that digest files with keys of a prefix were of.
	Chains(ctx context.Context, bucket, prefix string) ([]Chain, error)
	// Digests returns what was found last of each of a chain's digest files that end
	// between two times, by key; a zero time bounds nothing.
	Digests(ctx context.Context, c Chain, since, until time.Time) (map[string]DigestState, error)
	// LiveChains returns the chains with LiveAtLeast digest files that end after a time
	// and were checked LiveWithin of their end; backfill digests are none.
	LiveChains(ctx context.Context, since time.Time) ([]LiveChain, error)
	// Findings returns, of findings whose ids are these, or these and @ and
	// something, the id of the one that is open, "" where all are resolved.
	Findings(ctx context.Context, ids []string) (open map[string]string, err error)
}

// FileState is a log file that was taken in.
type FileState struct{ ETag, SHA256 string }

// DigestState is what was found of a digest file, and when.
type DigestState struct {
	Verdict, Reason, Signature, SHA256 string
	LogsInvalid                        []events.InvalidLog
	CheckedAt                          time.Time
}

// Validator checks digest files and the log files that they vouch for, as
// `aws cloudtrail validate-logs` does, and says what it found by events. It is
// safe for concurrent use.
type Validator struct {
	intake *Intake
	keys   *publicKeys

	mu     sync.Mutex
	chains map[Chain]*chainState
}

type chainState struct {
	mu   sync.Mutex
	last *link // that this process has checked
}

// Validation is what was found of a range of a chain, or of many.
type Validation struct {
	DigestsValid   int      `json:"digests_valid"`
	DigestsInvalid int      `json:"digests_invalid"`
	BackfillValid  int      `json:"backfill_digests_valid"`
	BackfillBad    int      `json:"backfill_digests_invalid"`
	LogsValid      int      `json:"logs_valid"`
	LogsInvalid    int      `json:"logs_invalid"`
	Problems       []string `json:"problems,omitempty"`
	// LastSeq is the highest place in CLOUDTRAIL of what was said.
	LastSeq uint64 `json:"-"`
}

// Arrived checks a digest file that CloudTrail has just delivered, and those
// since the last one that was checked.
func (v *Validator) Arrived(ctx context.Context, bucket, key string) error {
	chain, end, ok := chainOf(bucket, key)
	if !ok {
		return poison{fmt.Errorf("%s is not named as CloudTrail names digest files", s3Name(bucket, key))}
	}
	state := v.lock(chain)
	defer state.mu.Unlock()
	before := state.last
	if before == nil || !before.end.Before(end) {
		stored, err := v.intake.history.LastDigest(ctx, chain, end)
		if err != nil {
			return err
		}
		before = linkOf(stored)
	}
	keys := []string{key}
	if before != nil {
		var err error
		if keys, err = v.list(ctx, chain, before.key, key); err != nil {
			return err
		}
		if !slices.Contains(keys, key) { // under another prefix than before
			keys = append(keys, key)
		}
	}
	since := end.Add(-2 * period) // the one before it may be found missing
	if before != nil && before.end.Before(since) {
		since = before.end
	}
	known, err := v.intake.history.Digests(ctx, chain, since, end)
	if err != nil {
		return err
	}
	links, err := v.check(ctx, chain, run{before: before, keys: keys, known: known})
	if err != nil || len(links) == 0 {
		return err
	}
	if last := links[len(links)-1]; state.last == nil || state.last.end.Before(last.end) {
		state.last = &last
	}
	return nil
}

// lock returns what is known of a chain, locked.
func (v *Validator) lock(chain Chain) *chainState {
	v.mu.Lock()
	state := v.chains[chain]
	if state == nil {
		state = &chainState{}
		v.chains[chain] = state
	}
	v.mu.Unlock()
	state.mu.Lock()
	return state
}

func linkOf(d *events.CloudTrailDigestChecked) *link {
	if d == nil {
		return nil
	}
	return &link{key: d.Key, verdict: d.Verdict, start: d.StartTime, end: d.EndTime, signature: d.Signature, previous: d.PreviousKey}
}

// list returns the chain's digest files in the bucket after one up to another,
// by time; both are of one chain, whose keys sort by time.
func (v *Validator) list(ctx context.Context, chain Chain, after, upTo string) ([]string, error) {
	i := strings.Index(upTo, "/CloudTrail-Digest/")
	prefix := upTo[:i+len("/CloudTrail-Digest/")] + chain.Region + "/"
	client, err := v.intake.aws.bucket(ctx, chain.Bucket)
	if err != nil {
		return nil, err
	}
	var keys []string
	for pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &chain.Bucket, Prefix: &prefix, StartAfter: &after}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", s3Name(chain.Bucket, prefix), err)
		}
		for _, o := range page.Contents {
			if *o.Key > upTo {
				return keys, nil
			}
			if c, _, ok := chainOf(chain.Bucket, *o.Key); ok && c == chain {
				keys = append(keys, *o.Key)
			}
		}
	}
	return keys, nil
}

// Validate checks the digest files under an s3:// address whose hours end between two
// times, and reads all of the log files that they vouch for again. Those that were
// checked before and are gone now are missing.
func (v *Validator) Validate(ctx context.Context, address string, f Filter, progress func(Validation)) (Validation, error) {
	var total Validation
	bucket, prefix, ok := splitS3(address)
	if !ok {
		return total, fmt.Errorf("validate %s: want s3://BUCKET or s3://BUCKET/PREFIX", address)
	}
	chains := map[Chain][]string{}
	w := walker{aws: v.intake.aws, bucket: bucket, f: f, digests: true, found: func(o s3Listed) error {
		if c, _, ok := chainOf(bucket, o.key); ok {
			chains[c] = append(chains[c], o.key)
		}
		return nil
	}}
	// What is known is asked for first: what arrives meanwhile is not gone.
	known, err := v.intake.history.Chains(ctx, bucket, prefix)
	if err != nil {
		return total, err
	}
	states := map[Chain]map[string]DigestState{}
	for _, c := range known {
		all, err := v.intake.history.Digests(ctx, c, f.Since, f.Until)
		if err != nil {
			return total, err
		}
		for key := range all {
			if !strings.HasPrefix(key, prefix) || !w.takes(key) {
				delete(all, key)
			}
		}
		chains[c], states[c] = nil, all
	}
	if err := w.walk(ctx, prefix); err != nil {
		return total, err
	}
	each := func(one Validation) {
		total.add(one)
		if progress != nil {
			progress(total)
		}
	}
	for chain, keys := range chains {
		slices.Sort(keys)
		r := run{since: f.Since, keys: keys, known: states[chain], again: true, each: each, missing: map[string]bool{}}
		// The first key is followed back from, where the range asks for more.
		if _, err := v.check(ctx, chain, r); err != nil {
			return total, err
		}
		if err := v.vanished(ctx, chain, r); err != nil {
			return total, err
		}
	}
	return total, nil
}

// vanished reports the digest files that were checked before, are not in the bucket
// any more, and whose absence no digest file after them told of. There is one finding
// for those in a row, about the last of them, as for those between others.
func (v *Validator) vanished(ctx context.Context, chain Chain, r run) error {
	all := slices.Concat(r.keys, slices.Collect(maps.Keys(r.known)))
	slices.Sort(all)
	all = slices.Compact(all)
	here := map[string]bool{}
	for _, key := range r.keys {
		here[key] = true
	}
	first := "" // of those in a row
	for i, key := range all {
		if here[key] {
			first = ""
			continue
		}
		if first == "" {
			first = key
		}
		if r.missing[key] {
			continue // said
		}
		state := r.known[key]
		_, end, _ := chainOf(chain.Bucket, key)
		report := reportOn(chain, key, end, events.DigestMissing, state.Reason)
		if state.Verdict != events.DigestMissing {
			report.Reason = "not found: it was in the bucket on " + clock(state.CheckedAt)
		}
		one := Validation{Problems: []string{s3Name(chain.Bucket, key) + ": " + report.Reason}}
		if chain.Backfill {
			one.BackfillBad = 1
		} else {
			one.DigestsInvalid = 1
		}
		id, err := v.say(ctx, report, r.known, &one)
		if err != nil {
			return err
		}
		if i+1 == len(all) || here[all[i+1]] {
			reason := report.Reason
			if first != key {
				reason += "; those before it, from " + s3Name(chain.Bucket, first) + " on, are gone as well"
			}
			if err := v.findings(ctx, chain, id, nil, []problem{{kindTampered, s3Name(chain.Bucket, key), reason}}); err != nil {
				return err
			}
		}
		r.each(one)
	}
	return nil
}

// reportOn is a report on a digest file, without what its content says.
func reportOn(chain Chain, key string, end time.Time, verdict, reason string) *events.CloudTrailDigestChecked {
	return &events.CloudTrailDigestChecked{
		Account: chain.Account, Region: chain.Region, Trail: chain.Trail, HomeRegion: chain.HomeRegion, Bucket: chain.Bucket, Key: key,
		Backfill: chain.Backfill, EndTime: end, Verdict: verdict, Reason: reason,
	}
}

func (t *Validation) add(o Validation) {
	t.DigestsValid += o.DigestsValid
	t.DigestsInvalid += o.DigestsInvalid
	t.BackfillValid += o.BackfillValid
	t.BackfillBad += o.BackfillBad
	t.LogsValid += o.LogsValid
	t.LogsInvalid += o.LogsInvalid
	t.Problems = append(t.Problems, o.Problems...)
	t.LastSeq = max(t.LastSeq, o.LastSeq)
}

// run is what check goes through.
type run struct {
	before *link     // the digest file before the first, if it is known
	since  time.Time // see judgeChain
	keys   []string  // by time
	// known is what was found of the files, and of those missing between them, before.
	known map[string]DigestState
	again bool // read log files anew even where they are known not to have changed
	each  func(Validation)
	// missing collects the files that others name and that are gone.
	missing map[string]bool
}

// check reads consecutive digest files of a chain, judges them and says so.
func (v *Validator) check(ctx context.Context, chain Chain, r run) ([]link, error) {
	var links []link
	before, since := r.before, r.since
	for _, key := range r.keys {
		d, l, err := v.read(ctx, chain, key)
		if err != nil {
			return nil, err
		}
		if l == nil {
			continue // gone between listing and reading: its successor will miss it
		}
		report := reportOn(chain, key, l.end, l.verdict, l.reason)
		report.StartTime, report.PreviousKey, report.Signature = l.start, l.previous, l.signature
		var one Validation
		var about []problem
		if d != nil {
			report.SHA256 = hex.EncodeToString(d.sum[:])
			if d.trailing {
				about = append(about, problem{kindTampered, s3Name(chain.Bucket, key), "bytes follow the gzip data, which nothing vouches for"})
			}
		}
		if l.verdict == events.DigestValid {
			report.Logs = len(d.Logs)
			if err := d.keep(report); err != nil {
				return nil, err
			}
			bad, trailing, err := v.logs(ctx, d.Logs, r.again)
			if err != nil {
				return nil, err
			}
			report.LogsInvalid = bad
			one.LogsValid, one.LogsInvalid = len(d.Logs)-len(bad), len(bad)
			for _, b := range bad {
				about = append(about, problem{kindTampered, b.File, b.Reason})
			}
			for _, t := range trailing {
				about = append(about, problem{kindTampered, t, "bytes follow the gzip data, which nothing vouches for"})
			}
		}
		// Each file is judged with all that came before it: a kill in between
		// leaves nothing unsaid.
		missing := 0
		for _, f := range judgeChain(before, since, []link{*l}) {
			name := s3Name(chain.Bucket, f.key)
			if f.missing {
				missing++
				if r.missing != nil {
					r.missing[f.key] = true
				}
				if _, err := v.say(ctx, reportOn(chain, f.key, f.to, events.DigestMissing, f.reason), r.known, &one); err != nil {
					return nil, err
				}
			} else if f.key == key && report.Reason == "" {
				report.Reason = f.reason
			}
			if f.key == key && l.verdict == events.DigestValid {
				name = beforeIt(chain.Bucket, key)
			}
			about = append(about, problem{f.kind, name, f.reason})
		}
		looked := []problem{{kind: kindTampered, name: s3Name(chain.Bucket, key)}}
		looked = append(looked, silences(chain, before, l, r.known)...)
		if before != nil || l.previous == "" {
			looked = append(looked, problem{kind: kindTampered, name: beforeIt(chain.Bucket, key)})
		} else if was := r.known[key]; report.Verdict == was.Verdict && report.Reason == "" {
			report.Reason = was.Reason // what is before it was not looked at
		}
		if report.Verdict == events.DigestValid {
			for _, f := range d.Logs {
				looked = append(looked, problem{kind: kindTampered, name: s3Name(f.Bucket, f.Key)})
			}
		}
		id, err := v.say(ctx, report, r.known, &one)
		if err != nil {
			return nil, err
		}
		if err := v.findings(ctx, chain, id, looked, about); err != nil {
			return nil, err
		}
		valid, invalid := 1, missing
		if l.verdict != events.DigestValid {
			valid, invalid = 0, missing+1
		}
		if chain.Backfill {
			one.BackfillValid, one.BackfillBad = valid, invalid
		} else {
			one.DigestsValid, one.DigestsInvalid = valid, invalid
		}
		for _, p := range about {
			one.Problems = append(one.Problems, p.name+": "+p.reason)
		}
		if r.each != nil {
			r.each(one)
		}
		links = append(links, *l)
		before, since = l, time.Time{}
	}
	return links, nil
}

// read fetches and verifies one digest file. What is wrong with it is in the
// link; the digest is nil where it could not be read, the link where it is gone.
func (v *Validator) read(ctx context.Context, chain Chain, key string) (*digest, *link, error) {
	_, end, _ := chainOf(chain.Bucket, key)
	l := &link{key: key, verdict: events.DigestInvalid, end: end}
	o, err := v.intake.aws.open(ctx, chain.Bucket, key)
	if gone(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer o.Close()
	from := &source{Reader: o}
	d, err := readDigest(from, o.meta, chain)
	if from.err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", s3Name(chain.Bucket, key), from.err)
	}
	if err == nil {
		err = d.verify(ctx, v.keys, chain.Region, chain.Bucket, key)
	}
	bad, isBad := errors.AsType[digestError](err)
	switch {
	case isBad:
		l.reason = bad.reason
		return d, l, nil
	case err != nil:
		return nil, nil, err
	}
	l.verdict, l.start, l.end, l.signature, l.previous = events.DigestValid, d.start, d.end, d.signature, d.previousKey()
	if d.PreviousSigned != nil {
		l.previousSignature = *d.PreviousSigned
	}
	return d, l, nil
}

// say appends the report of a digest file and returns the event's id; what is known
// already is no new event, and has none. What comes back after a change is one: the
// id tells what was known by when it was found.
func (v *Validator) say(ctx context.Context, d *events.CloudTrailDigestChecked, known map[string]DigestState, one *Validation) (id string, err error) {
	was := known[d.Key]
	if was.Verdict == d.Verdict && was.Reason == d.Reason && was.Signature == d.Signature && was.SHA256 == d.SHA256 && slices.Equal(was.LogsInvalid, d.LogsInvalid) {
		return "", nil
	}
	since := ""
	if was.Verdict != "" {
		since = was.CheckedAt.UTC().Format(time.RFC3339Nano)
	}
	id = "digest/" + shortHash(d.Bucket, d.Key, d.Verdict, d.Reason, d.Signature, fmt.Sprint(d.LogsInvalid), since)
	seq, err := v.intake.journal.Append(ctx, events.Event{Meta: events.Meta{ID: id}, Data: d})
	if err != nil {
		return "", fmt.Errorf("report on %s: %w", s3Name(d.Bucket, d.Key), err)
	}
	one.LastSeq = max(one.LastSeq, seq)
	return id, nil
}

func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
